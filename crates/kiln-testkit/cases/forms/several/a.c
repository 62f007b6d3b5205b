#include "h.h"
int main(void) { return twice(h(1)); }
