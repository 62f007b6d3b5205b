static int h(void) { int unused; return 1; }
