#ifndef X
.globl f
#endif
f:
