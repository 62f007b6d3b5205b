#include <version.h>
static inline int version(void) { return 1; }
