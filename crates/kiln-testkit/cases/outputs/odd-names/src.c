#include "odd header.h"
#include "inc2/h$.h"
int f(int x) { int unused; return g(x) + 1; }
