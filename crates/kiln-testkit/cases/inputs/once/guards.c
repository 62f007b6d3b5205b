#include "g1.h"
#include "g2.h"
int f(void) { return guarded; }
