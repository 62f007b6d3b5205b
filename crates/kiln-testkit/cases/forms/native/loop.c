//# title: the processor of the user's machine, named as `native`
//# setup: printf '%s' '-march=native -mtune=native' > native.rsp
//# run (host): -O3 -march=native -g -c loop.c
//# run (host c++): -O3 -march=native -g -c loop.c
//# run (host): -O2 -mtune=native -mno-avx2 -S loop.c -o out.s
//# run (gnu host): -O3 @native.rsp -frecord-gcc-switches -c loop.c -o out.o
//# run (gnu host): -O3 -march=native -flto -frandom-seed=1 -c loop.c
//# run (gnu host): -O3 -march=native -g -c start.S
//# here native (llvm): -O3 -march=native -grecord-command-line -c loop.c
//# here native (aarch64-linux-gnu-gcc): -O3 -mcpu=native -c loop.c
void add(float *a, const float *b, int n) { for (int i = 0; i < n; i++) a[i] = a[i] * 3 + b[i]; }
