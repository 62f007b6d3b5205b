#include <r.h>
int f(void) { return r; }
#define r second
#include_next <r.h>
