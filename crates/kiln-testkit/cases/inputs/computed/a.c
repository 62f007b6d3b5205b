//# title: computed includes: through several macros, stringised, pasted, by -D, with several values, with arguments
//# run: -c a.c -MD
//# run: -c a.c -DPICK=2 -MD
//# run: -c a.c '-DHEADER="sub/one.h"' -MD
//# run: -c a.c '-DHEADER=<sub/two.h>' -I. -MD
//# run: -c a.c '-DHEADER=STR(sub/two.h)' -MD
//# run: -c a.c '-DHEADER="missing.h"' -MD
//# run: -c a.c -DHEADER -MD
#define XSTR(x) #x
#define STR(x) XSTR(x)
#define PASTE(a, b) a##b
#define CAT(a, b) PASTE(a, b)
#define DIR sub
#define NAME(n) STR(DIR/n.h)
#define NAME_one one
#define NAME_two two
#define INDIRECT CHOSEN
#if PICK == 2
#define CHOSEN NAME(two)
#else
#define CHOSEN NAME(one)
#endif
#include INDIRECT
#undef CHOSEN
#define CHOSEN NAME(three)
#include INDIRECT
#include STR(CAT(NAME_, two).h)
#ifdef HEADER
#include HEADER
#endif
#define SYS <stddef.h>
#include SYS
#define ANGLE(x) <x.h>
#include ANGLE(stdint)
size_t n = ONE + TWO;
