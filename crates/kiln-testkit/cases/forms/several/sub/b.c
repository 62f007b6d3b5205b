#include "../h.h"
int twice(int x) { return 2 * h(x); }
