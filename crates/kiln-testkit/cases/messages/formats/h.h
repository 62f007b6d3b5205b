static int unused_here(void) { return 1; }
