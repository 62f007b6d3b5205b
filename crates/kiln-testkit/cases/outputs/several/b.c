#include "h.h"
int b(void) { return g(2); }
