#define VALUE 3
#define OPTION 0
asm(".section .rodata; .incbin \"data.bin\"");
