//# title: headers that are empty, included by themselves, by absolute path, through a directory, with odd names
//# setup: mkdir a dir.h 'inc one'; : > empty.h; cp sub/in.h 'comma,.h'; cp sub/in.h 'back\slash.h'; cp sub/in.h 'blank name.h'; cp sub/in.h é.h
//# setup: printf '#include "%s/sub/in.h"\n' "$PWD" > abs.h; cp sub/in.h Case.h; echo 'enum { shadowed };' > 'inc one/x.h'; printf '\xef\xbb\xbf#include "sub/in.h"\n' > bom.h
//# setup: printf '#include "sub/in.h"\r\nint crlf;\r\n' > crlf.h; printf 'int no_newline;\n#include "sub/in.h"' > nonl.h; printf '#include "sub/in.h"\n\0\n' > nul.h
//# run: -c a.c -MD
//# run: -c a.c -MD -DDIRECTORY
//# run: -c a.c -MD -I'inc one' -DBLANK
//# run: -c a.c -MD -DBOM
//# run: -c a.c -MD -DNUL
//# run: -c a.c -MD -DWRONG_CASE
//# run: -c a.c -MD -DSELF
//# run: -c a.c -MD -DDEEP
#include "empty.h"
#include "a/../sub/in.h"
#include "./sub/../sub//in.h"
#include "comma,.h"
#include "back\slash.h"
#include "blank name.h"
#include "é.h"
#include "abs.h"
#include "crlf.h"
#include "nonl.h"
#include "self.h"
#ifdef DIRECTORY
#include "dir.h"
#endif
#ifdef BLANK
#include <x.h>
#endif
#ifdef BOM
#include "bom.h"
#endif
#ifdef NUL
#include "nul.h"
#endif
#ifdef WRONG_CASE
#include "case.h"
#endif
#ifdef SELF
#include "endless.h"
#endif
int x = IN + SELF_DEPTH;
