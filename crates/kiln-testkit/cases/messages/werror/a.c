//# title: verdicts of -Werror that preprocessed text would change
//# run: -c -Werror -Wmisleading-indentation a.c
//# run: -c -Werror -Wimplicit-fallthrough a.c
//# run: -c -Werror -Wunused-macros a.c
//# run: -c -Werror -Wtautological-compare a.c
//# run: -c -Werror -Wparentheses a.c
//# run: -c -Werror -Wall -Wextra a.c
//# run: -c -Werror=comment -Wall a.c
//# run: -c -Werror=unused-variable -Wno-error a.c
//# run: -c -Werror -Wno-error=all -Wall a.c
//# run: -c -Werror -Wsystem-headers -Wall -isystem sys a.c -DSYS
//# run: -c -Werror -Wall -isystem sys a.c -DSYS
//# run: -c -pedantic-errors -std=c99 a.c
//# run: -c -Werror -Wundef a.c -DU
//# run: -c -Werror -Wexpansion-to-defined a.c -DU
//# run(llvm): -c -Werror -Wparentheses-equality a.c
//# run(llvm): -c -Werror -Wnull-pointer-arithmetic -Wtautological-pointer-compare a.c
//# run(llvm): -c -Werror -Wnewline-eof -Weverything -Wno-unused-macros a.c
//# run: -c -Werror -Wno-such-warning a.c
//# run: -c -w -Werror -Wall a.c
#ifdef SYS
#include <warns.h>
#endif
#define UNUSED_MACRO 1
#define EQUAL(a, b) ((a) == (b))
#define BODY(x) if (x) return 1; return 2;
#ifdef U
#define ODD defined(NOTHING)
#if ODD || UNDEFINED
#endif
#endif
int f(int a, unsigned u) {
  switch (a) {
  case 1: a++; /* fall through */
  case 2: a--;
    // FALLTHRU
  case 3: a += 2;
  default:;
  }
  if (EQUAL(a, 2)) a = 0;
  if (a == a) a++; if (u < 0) a--;
  BODY(a & 1 == 0)
}
