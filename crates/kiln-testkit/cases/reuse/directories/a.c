#include "r.h"
const char *file = __FILE__;
int f(void) { return r; }
