#if __has_include(<h.h>)
#include <h.h>
int found = H;
#endif
#if __has_include(<stddef.h>)
int own;
#endif
#if __has_include(<stdio.h>)
int standard;
#endif
#ifdef FROM_OPTION
int from_option = FROM_OPTION;
#endif
#if __has_include("q.h")
int quoted;
#endif
