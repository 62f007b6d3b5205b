const char *f(void) { return (const char *) WHEN; }
