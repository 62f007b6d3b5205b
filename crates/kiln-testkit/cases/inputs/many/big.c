#include "big.h"
