static inline int g(int x) { return x * 3; }
