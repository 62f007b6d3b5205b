#include "macro.h"
const char *f(void) { return WHEN; }
