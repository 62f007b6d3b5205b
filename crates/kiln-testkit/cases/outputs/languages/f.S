#include "asm.h"
.globl x
x: .long VALUE
