#include "one/x.h"
#include "two/x.h"
