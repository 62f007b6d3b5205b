#include "one/x.h"
#include "later.h"
