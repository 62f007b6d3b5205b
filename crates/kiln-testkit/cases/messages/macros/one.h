#include "two.h"
#define WRAP(x) INNER(x)
