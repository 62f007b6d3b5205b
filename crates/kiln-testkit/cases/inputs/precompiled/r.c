#include "r.h"
int f(void) { return g(1); }
