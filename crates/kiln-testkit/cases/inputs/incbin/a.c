//# title: files that the assembler reads: .incbin in C and assembly, .include
//# setup: mkdir data; printf 'bytes\n' > data/blob; printf 'more\n' > blob2; printf '.long 7\n' > data/inc.s
//# run: -c a.c
//# run: -c a.c -O2 -g
//# here assembler-include: -c b.S -MD
//# here assembler-include: -c b.S -Wa,-Idata -DINCLUDE
//# here assembler-include: -c c.s
//# here assembler-include: -c c.s -Wa,-I,data
//# run: -c d.c
//# run: -S a.c
__asm__(".data\nblob: .incbin \"data/blob\"\n.incbin \"blob2\", 1, 2\n");
int x;
