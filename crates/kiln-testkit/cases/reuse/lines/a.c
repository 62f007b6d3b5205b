#include "h.h"
int f(int x) { return g(x); }
