#include "parts.h"
#include NAME
int value(void) { return VALUE * 10 + OPTION; }
