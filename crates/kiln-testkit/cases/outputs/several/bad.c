int bad(void) { int unused; return missing; }
