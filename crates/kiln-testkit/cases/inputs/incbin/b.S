#define FILE "data/blob"
.data
.incbin FILE
# a comment with .incbin "nothing"
#ifdef INCLUDE
.include "inc.s"
#endif
