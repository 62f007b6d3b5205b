#ifdef MISSING
#include "missing.h"
#endif
#ifdef ERROR
#error here
#endif
#ifdef ASM
__asm__("not an instruction");
#endif
#ifdef SYNTAX
int broken(void) { return nothing }
#endif
int f(void) {
#ifdef WARN
  int unused;
#endif
  return 1;
}
