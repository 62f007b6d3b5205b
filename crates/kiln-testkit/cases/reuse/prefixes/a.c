const char *file = __FILE__;
#ifdef A
int a = A;
#endif
