// __DATE__
/* __TIME__
 */
const char *f(void) { return "__DATE__ __TIMESTAMP__"; }
#if 0
const char *g = __TIME__;
#endif
