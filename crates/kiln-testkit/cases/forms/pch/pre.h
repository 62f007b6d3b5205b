#include <stdio.h>
#include <stddef.h>
#include "sub/more.h"
#define PRE 5
static inline int pre(int x) { return x + PRE; }
