#include "sub/h.h"
.globl f
f: .word H
