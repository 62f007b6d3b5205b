//# title: messages on terminals of several widths and kinds, with and without colour
//# run tty=80: -c -Wall -Wextra a.c
//# run tty=132: -c -Wall -Wextra a.c
//# run tty=40: -c -Wall -Wextra a.c -MD
//# run tty=0: -c -Wall a.c
//# run tty=80: -c a.c -w
//# run tty=80: -c -Wall -DBROKEN a.c
//# run tty=80: -c -Wall -Werror a.c
//# run tty=80: TERM=dumb -c -Wall a.c
//# run tty=80: TERM=xterm -c -Wall a.c
//# run tty=80: TERM=vt100 -c -Wall a.c
//# run tty=80: TERM= -c -Wall a.c
//# run(gnu) tty=80: TERM=no-such-terminal -c -Wall a.c
//# here(llvm) unknown-terminal tty=80: TERM=no-such-terminal -c -Wall a.c
//# here(llvm) unknown-terminal tty=80: TERMINFO=/nowhere -c -Wall a.c
//# run tty=80: COLUMNS=50 -c -Wall a.c
//# run tty=80: NO_COLOR=1 -c -Wall a.c
//# run tty=80: GCC_COLORS= -c -Wall a.c
//# run tty=80: GCC_COLORS='error=01;32:warning=04' -c -Wall -DBROKEN a.c
//# run tty=80: GCC_URLS=no -c -Wall a.c
//# run tty=80: -c -Wall -fdiagnostics-color=never a.c
//# run tty=80: -c -Wall -fdiagnostics-color=always a.c
//# run tty=80: -c -Wall -fdiagnostics-color=auto a.c
//# run tty=80: -c -Wall -fmessage-length=30 a.c
//# run tty=80: LC_ALL=de_DE.UTF-8 -c -Wall -DBROKEN a.c
//# run tty=80: LC_ALL=C -c -Wall a.c
//# here link tty=80: -Wall a.c -o prog
//# here preprocess-only tty=80: -E -DWARN a.c
#include <stdio.h>
#define TWICE(x) ((x) + (y))
#ifdef WARN
#warning in the preprocessor
#endif
static int unused_function_with_a_long_name_so_that_the_line_is_cut_somewhere(int argument_one, int argument_two, double three) { return 1; }
int f(int a) {
  int unused;
  if (a = 1) printf("%s and a very long string after it so that the source line does not fit into eighty columns", a);
#ifdef BROKEN
  return TWICE(missing;
#endif
}
