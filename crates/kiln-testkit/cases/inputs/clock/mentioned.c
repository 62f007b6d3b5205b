/* __DATE__ __TIME__ __TIMESTAMP__ */
const char *s = "__DATE__ __TIME__";
// __TIME__
