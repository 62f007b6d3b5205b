#include "stamp.h"
const char *f(void) { return g() ? __TIMESTAMP__ : in_header; }
