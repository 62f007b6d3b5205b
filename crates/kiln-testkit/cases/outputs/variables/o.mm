#include <found.h>
int o = FOUND;
