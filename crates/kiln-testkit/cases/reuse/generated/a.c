#include "config.h"
int x;
