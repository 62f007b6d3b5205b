//# title: side files of coverage, profiles, stack usage, call graphs, records, traces
//# setup: mkdir out
//# run: -c --coverage a.c -frandom-seed=1
//# run: -c --coverage a.c -o out/x.y.o -frandom-seed=1
//# run: -c -fprofile-arcs -ftest-coverage a.c -o out/x -frandom-seed=1
//# run: -c -fprofile-arcs a.c -frandom-seed=1
//# run: -c -ftest-coverage a.c -frandom-seed=1
//# run: -S --coverage a.c -o out/x.s -frandom-seed=1
//# run: -c -O2 -fprofile-generate a.c -frandom-seed=1
//# run: -c -O2 -fprofile-generate=out a.c -frandom-seed=1
//# run: -c --coverage -fprofile-dir=out a.c -frandom-seed=1
//# run(gnu): -c --coverage -fprofile-abs-path a.c -frandom-seed=1
//# run: -c -fstack-usage a.c
//# run: -c -fstack-usage a.c -o out/x.y.o
//# run(gnu): -c -fcallgraph-info a.c
//# run(gnu): -c -fcallgraph-info=su,da a.c -o out/x.o
//# run(gnu): -c -aux-info protos.X a.c
//# run(gnu): -c -aux-info out/p a.c -o out/x.o
//# run: -c -O2 -fsave-optimization-record a.c
//# run: -c -O2 -fsave-optimization-record a.c -o out/x.y.o
//# run(llvm): -c -O2 -foptimization-record-file=out/rec.yaml a.c
//# run(llvm): -c --serialize-diagnostics out/d.dia -Wall a.c
//# run(llvm): -c -serialize-diagnostics d.dia -Wall -DBROKEN a.c
//# run(llvm): -c -MJ out/cdb.json a.c
//# run(llvm): -c -ftime-trace a.c
//# run(llvm): -c -emit-llvm a.c
//# run(llvm): -S -emit-llvm a.c
//# run(llvm): -c -fcoverage-mapping -fprofile-instr-generate a.c
//# run(gnu): -c -Wa,-adhln=list.lst -g a.c
//# run(gnu): -c -Wa,-a=out/list.lst a.c -o out/x.o
//# run(gnu): -c -Wa,-adhln a.c
//# run(gnu): -c -Xassembler -al=one.lst a.c
//# run(gnu): -c -Wa,--MD,as.d a.c
//# run: -c -frecord-gcc-switches a.c
//# run: -c --coverage a.c -o out/seedless.o
//# run: -c -O2 -flto a.c -frandom-seed=1
//# run(gnu): -c -O2 -flto -ffat-lto-objects a.c -frandom-seed=1
//# run(llvm): -c -O2 -flto=thin a.c -frandom-seed=1
//# run(llvm): -c -O2 -flto=thin -fthin-link-bitcode=out/thin.bc a.c -o out/x.o -frandom-seed=1
//# run: -c -g -gsplit-dwarf --coverage -fstack-usage -MD a.c -o out/all.o -frandom-seed=1
//# run: -c --coverage -fstack-usage -MD -DBROKEN a.c -o out/all.o -frandom-seed=1
//# run: -c -O2 -fsanitize=address,undefined a.c
//# run: -c -O1 -fsanitize=thread a.c
#include "h.h"
int f(int x) { int unused; int s = 0; for (int i = 0; i < x; i++) s += g(i); return s; }
static int h(int x) { return f(x) + 1; }
int k(int x) { return h(x) * 2; }
#ifdef BROKEN
int broken(void) { return missing; }
#endif
