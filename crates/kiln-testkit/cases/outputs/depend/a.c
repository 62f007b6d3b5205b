//# title: dependency files in all their spellings
//# setup: mkdir out
//# run: -c a.c -MD
//# run: -c a.c -MMD -o out/y.z.o
//# run: -c a.c -MD -MF dep.mk -MP -MT t -MQ 'q q$'
//# run: -c a.c -MMD -MF /dev/null
//# run: -c a.c -MD -MF -
//# run: -c a.c -Wp,-MD,out/.a.o.d -o out/a.o
//# run: -c a.c -Wp,-MMD,out/.a.o.d -o out/a.o
//# run: -c a.c -MD -MT out/a.o -MF out/one.d -MF out/two.d
//# here dependencies-only: -M a.c
//# here dependencies-only: -MM -MG a.c
#include <stddef.h>
#include "h.h"
size_t f(int x) { return g(x) + 1; }
