#include "one/x.h"
#include "soft.h"
