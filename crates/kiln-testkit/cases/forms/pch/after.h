#ifdef MORE
#define AFTER 3
#else
#include "never.h"
#endif
