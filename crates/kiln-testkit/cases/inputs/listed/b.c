#define SELECT 1
#include "near/aaaaaaa.h"
#include "parts.h"
#include NAME
int value(void) { return VALUE; }
