#ifdef __clang__
int x;
#else
const int n = sizeof(__DATE__ __TIME__);
const char *s = __DATE__ " " __TIME__;
#endif
