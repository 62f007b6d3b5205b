#define VALUE 1
#if __has_include(<option.h>) && !defined WITHOUT
#include <option.h>
#else
#define OPTION 0
#endif
#if __has_include("near.h")
#undef VALUE
#define VALUE 5
#endif
