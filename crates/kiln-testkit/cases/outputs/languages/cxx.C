#include "h.h"
struct s { int m() { return g(1); } };
int f() { return s().m(); }
