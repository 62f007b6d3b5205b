#include "pre.h"
#include "after.h"
int use(void) { return pre(MORE) + AFTER; }
