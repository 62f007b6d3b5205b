static const char *const in_header = __TIMESTAMP__; static const char *g(void) { return in_header; }
