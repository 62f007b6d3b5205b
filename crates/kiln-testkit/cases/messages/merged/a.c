//# title: both streams on one pipe, in the order in which they were written
//# run(gnu) merged: -c -Wall -Wa,-adhln a.c
//# run merged: -c -Wall -MD -MF - a.c
//# run merged: -c -Wall -H a.c
//# run(gnu) merged: -c -Wall -DASM -Wa,-al a.c
//# run(gnu) merged: -c -Wall -DBROKEN -MD -MF - a.c
#include "h.h"
int f(int a) { int unused;
#ifdef BROKEN
return missing;
#endif
#ifdef ASM
__asm__("no such thing");
#endif
}
