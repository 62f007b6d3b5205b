.globl start
start: ret
