#include "h.h"
int lost(void); int twice(int x) { return lost() + h(x); }
