//# title: warnings, notes and errors, and the ends that go with them
//# run: -c -Wall -Wextra a.c
//# run: -c -Wall -Wextra -Werror a.c
//# run: -c -Wall -DBROKEN a.c
//# run: -c -Wall -DBROKEN -fmax-errors=1 a.c
//# run merged: -c -Wall -H a.c
//# run tty=80: -c -Wall -Wextra a.c
//# run tty=132: -c -Wall -DBROKEN a.c
#include <stdio.h>
#define TWICE(x) ((x) + (y))
int f(int a) {
  int unused;
  if (a = 1) printf("%s", a);
#warning here
#ifdef BROKEN
  return TWICE(missing;
#endif
}
