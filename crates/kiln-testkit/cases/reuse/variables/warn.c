int f(void) { int x; return "a" == 0; }
