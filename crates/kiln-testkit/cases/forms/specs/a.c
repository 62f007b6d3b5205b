#ifdef __OPTIMIZE__
#include "h.h"
#endif
#ifdef __PIE__
#include "pie.h"
#endif
extern int other; int *a(void) { return &other; }
