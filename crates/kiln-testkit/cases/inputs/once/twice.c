#include <x.h>
#include_next <x.h>
#include "x.h"
