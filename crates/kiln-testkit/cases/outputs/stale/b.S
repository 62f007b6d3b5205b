#ifdef MISSING
#include "missing.h"
#endif
#ifdef SYNTAX
 not an instruction
#endif
 .globl x
x:
