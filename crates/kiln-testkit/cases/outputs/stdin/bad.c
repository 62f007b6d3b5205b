#include "h.h"
int f(int x) { int unused; return missing; }
