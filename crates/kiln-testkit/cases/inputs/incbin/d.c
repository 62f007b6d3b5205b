__asm__(".incbin \"not-there\"");
