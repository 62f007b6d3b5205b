#include "x.h"
int x;
