#include "parts.h"
#undef P3
#define P3 x
#include NAME
