#ifndef IN
#define IN 1
#endif
