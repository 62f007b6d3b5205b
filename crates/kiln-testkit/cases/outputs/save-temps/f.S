#define ONE 1
.globl x
x: .long ONE
