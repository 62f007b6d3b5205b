static inline int warns(int a) { int unused; if (a = 1) return 2; return 3; }
