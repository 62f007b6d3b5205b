#include "q.h"
int f(void) { return g(1); }
