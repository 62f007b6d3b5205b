//# title: what the environment asks for
//# setup: mkdir out
//# here environment: DEPENDENCIES_OUTPUT=env.d -c a.c
//# here environment: DEPENDENCIES_OUTPUT='env.d target' -c a.c
//# here environment: SUNPRO_DEPENDENCIES=env.d -c a.c
//# here environment: SUNPRO_DEPENDENCIES='out/env.d t' -c a.c -MD
//# run: SOURCE_DATE_EPOCH=1000 -c a.c -MD
//# run: TMPDIR=/nonexistent -c a.c
//# run: TZ=Asia/Tokyo -c a.c
//# run: CPATH=inc -c -DCP a.c -MD
//# run: CPATH= -c a.c
//# run: C_INCLUDE_PATH=inc:other -c -DCP a.c -MD
//# run: CPATH=:inc -c -DCP a.c -MD
//# run: CPLUS_INCLUDE_PATH=inc -c a.c -MD
//# here environment: COMPILER_PATH=/nonexistent -c a.c
//# here environment: GCC_EXEC_PREFIX=/nonexistent -c a.c
//# here environment: GCC_COMPARE_DEBUG=1 -c a.c
//# here environment: CCC_OVERRIDE_OPTIONS=#x -c a.c
//# here environment: LD_PRELOAD=libnothing.so -c a.c
//# run: LD_LIBRARY_PATH=/nonexistent -c a.c
//# run: GCC_COLORS=error=01 -c -Wall a.c
//# run: COLUMNS=40 TERM=dumb -c -Wall a.c
#include "h.h"
#ifdef CP
#include <cpath.h>
#endif
int f(int x) { int unused; return g(x) + 1; }
