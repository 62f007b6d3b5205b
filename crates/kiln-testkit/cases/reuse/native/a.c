//# title: this machine's own processor
//# sequence: yes
//# run(host): -c a.c -O2 -march=native
//# run(host): -c a.c -O2 -mtune=native
//# run(host): -c a.c -O2 -march=x86-64 -mtune=native
//# here(llvm host) native: -c a.c -O2 -mcpu=native
//# run(host): -c a.c -O2
void f(float *a, const float *b, int n) { for (int i = 0; i < n; i++) a[i] += b[i] * 3; }
