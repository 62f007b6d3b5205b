#define VALUE 2
#if __has_include_next(<bbbbbbb.h>)
#define OPTION 3
#else
#define OPTION 4
#endif
