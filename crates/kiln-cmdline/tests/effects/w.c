extern int printf(const char *, ...);
struct s { char c; int i; };
int narrow(unsigned u, int i, char c, long l, float f) { int unused; if (u > i) return c >> 1; if (c < 0) i = l; if (f == 1) i = f; return (int) (i << 3) % 7; }
int assign(int x) { if (x = 4) x--; switch (x) { case 1: x++; case 2: return 1; } }
int shadow(int x) { { int x = 3; printf("%d %s\n", "text", x); } return 'ab'; }
int old(a) int a; { return a; }
#define LESS(a, b) ((a) < (b))
int less(unsigned u, int i) { return LESS(u, i); }
int empty[0];
