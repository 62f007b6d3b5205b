typedef unsigned long size;
extern int printf(const char *, ...);
extern void *memcpy(void *, const void *, size);
extern size strlen(const char *);
__thread int tls;
extern __thread int far_tls;
extern int other;
__attribute__((weak)) int weak(void) { return 1; }
static int called(int x) { return x * other + 3; }
int choose(int x) { switch (x) { case 1: return 20; case 2: return other; case 3: return 35; case 4: return 9; case 5: return 77; case 6: return 1; default: return -x; } }
int recurse(int n, int acc) { return n ? recurse(n - 1, acc * n) : acc; }
int guarded(int *b) { int z = *b; if (!b) return 0; return z; }
void copy(char *to, const char *from) { memcpy(to, from, 64); to[strlen(from)] = 0; }
int local(int n) { char buffer[200]; volatile int v = n; buffer[n] = 1; return buffer[v] + v; }
int dynamic(int n) { char buffer[n]; printf("%s\n", buffer); return buffer[n - 1]; }
int jump(int n) { static void *where[] = { &&a, &&b }; goto *where[n & 1]; a: return 1; b: return 2; }
int aliased(int *i, float *f) { *i = 1; *f = 2; return *i; }
int overflow(int a) { return a + 1 > a; }
int odd_call(int (*fn)(int), int x) { int r = fn(x); return fn(r) + fn(x) + called(x); }
int main(int argc, char **argv) { tls++; far_tls++; return called(argc) + argc / 10 + argv[0][0]; }
int cold(int x) { if (__builtin_expect(x, 0)) { printf("a"); printf("b"); return choose(x); } return called(x); }
int swap(int *p) { return __sync_val_compare_and_swap(p, 1, 2); }
