#include <abs.h>
#include <up.h>
