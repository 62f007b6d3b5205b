#include <h.h>
.globl e
e: .long H
 .text
 nop
