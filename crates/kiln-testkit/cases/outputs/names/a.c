//# title: the object's name and place, as spelled
//# setup: mkdir out; echo old > was.o
//# run: -c a.c
//# run: -c a.c -o x.o
//# run: -c a.c -ox.o
//# run: -c ./a.c -o ./out/x.lo
//# run: -c {dir}/a.c -o {dir}/out/x
//# run: -c a.c -o first.o -o second.o
//# run: -c a.c -o was.o
//# run: -S a.c
//# run: -S a.c -o out/x.s
//# run: -S -c a.c
//# here output-directory: -c a.c -o none/x.o
//# here special-output: -c a.c -o /dev/null
#include "h.h"
int f(int x) { return g(x) + 1; }
