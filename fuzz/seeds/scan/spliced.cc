#include \
"x.h"
#ifdef __TIME__
import m;
#endif
