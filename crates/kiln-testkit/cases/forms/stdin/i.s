.include "inc.s"
