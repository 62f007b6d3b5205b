.globl e
e:
.incbin "inc.s"
