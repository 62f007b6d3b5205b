#include "pre.h"
#ifdef VERSION_A
#include "more.h"
#endif
int use(void) { return version(); }
