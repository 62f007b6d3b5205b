#include "x.h"
int f(void) { return V; }
