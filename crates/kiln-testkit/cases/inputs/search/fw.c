#include <F/F.h>
