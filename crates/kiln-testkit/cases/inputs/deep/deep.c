#include "h1.h"
