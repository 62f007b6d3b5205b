int g(int x); int f(int x) { int s = 0; for (int i = 0; i < x; i++) s += g(i); return s; }
