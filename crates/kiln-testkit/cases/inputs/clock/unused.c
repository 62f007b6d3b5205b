#define BUILT __DATE__ " " __TIME__
int x;
