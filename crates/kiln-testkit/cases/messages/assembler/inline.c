int f(int x) { __asm__("bad %0, %1" : "=r"(x) : "0"(x)); int y = x; return x; }
