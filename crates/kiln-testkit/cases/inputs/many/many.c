#include "all.h"
int x = e9999;
