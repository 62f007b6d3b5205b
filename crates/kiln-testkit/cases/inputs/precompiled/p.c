#include "p.h"
int f(void) { return g(1); }
