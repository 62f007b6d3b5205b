.data
.include "inc.s"
