#ifndef SELF_DEPTH
#define SELF_DEPTH 0
#include "self.h"
#elif SELF_DEPTH == 0
#undef SELF_DEPTH
#define SELF_DEPTH 1
#include "self.h"
#endif
