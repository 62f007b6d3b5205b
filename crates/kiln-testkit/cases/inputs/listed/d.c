#include "parts.h"
#include NAME
#define FILE "data.bin"
asm(".section .rodata; .incbin \"" FILE "\"");
