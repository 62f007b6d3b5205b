int f(void) { return 1; }
const char *v = __VERSION__;
