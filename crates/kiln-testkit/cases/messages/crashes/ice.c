int __GIMPLE (ssa) f (void) { int t; __BB(2): goto __BB3; __BB(4): return t_1; }
