#define HAS(x) __has_include(x)
#define ASK(x) HAS(x)
#include "parts.h"
#if ASK(<option.h>)
#endif
#include NAME
int value(void) { return VALUE; }
