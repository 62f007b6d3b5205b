#include <h.h>
#include "near.h"
/* a comment */
int common;
static int counter;
enum small { one, two, three };
struct bits { char c; int a : 3; long l; enum small e; double d; };
const char *text = "text" __FILE__;
int tiny(struct bits *b, char c) { return b->a + (int) b->e + c + H + NEAR + counter++; }
#ifdef FROM_OPTION
int from_option = FROM_OPTION;
#endif
#if __FAST_MATH__ || __BLOCKS__ || _OPENMP || _REENTRANT || __SSE3__ || __ARM_FEATURE_CRC32
int macro;
#endif
