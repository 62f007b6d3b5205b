#define D __DATE__
const char *f(void) { return D; }
