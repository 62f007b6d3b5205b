.data
/* .incbin "nothing" */
.incbin "blob2"
.include "data/inc.s"
