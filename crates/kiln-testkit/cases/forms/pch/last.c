#if MORE == 8
#include "last.h"
#endif
int l = LAST;
