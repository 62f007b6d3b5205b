#include <up.h>
#include "real/inc/up.h"
