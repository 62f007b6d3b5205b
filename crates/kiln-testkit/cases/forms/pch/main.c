#include "pre.h"
int main(void) { size_t n = sizeof(max_align_t); return pre(0) - PRE + (n == 0); }
