#include "one/x.h"
#include "hard.h"
