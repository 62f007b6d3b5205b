.globl x
x: .long 1
