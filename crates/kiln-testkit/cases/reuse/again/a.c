#include "x.h"
int f(void) { int unused; return v; }
