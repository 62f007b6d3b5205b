#include "x.h"
#include <y.h>
#include "z.h"
#include "hard.h"
int f(void) { return v + w + u; }
