#include <w.h>
