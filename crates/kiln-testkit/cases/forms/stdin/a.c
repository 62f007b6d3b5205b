#include "sub/h.h"
#include <stddef.h>
size_t a(void) { int unused; return H + __LINE__ + sizeof __FILE__; }
