#include "linked/x.h"
#include "one/x.h"
