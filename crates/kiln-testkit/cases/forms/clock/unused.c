#define D __DATE__ " " __TIME__
#define E D
int f(void) { return 1; }
