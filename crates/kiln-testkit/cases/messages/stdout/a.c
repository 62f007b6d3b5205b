//# title: compiles without a standard output, without a standard input
//# prelude: exec >&- <&-
//# run: -c -Wall a.c
//# run: -c -MD -MF - a.c
//# run(gnu): -c -Wa,-a a.c
//# run: -c -H a.c
#include "h.h"
int f(int a) { int unused; }
