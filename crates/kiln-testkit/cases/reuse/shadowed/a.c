#include <x.h>
#if __has_include("opt.h")
#include "opt.h"
#endif
int x;
