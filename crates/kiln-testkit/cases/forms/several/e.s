.globl e
e:
