//# title: untaken branches with garbage, continuations, comments, digraphs, raw text, pragmas
//# run: -c a.c -MD
//# run: -c a.c -MD -trigraphs
//# run: -c a.c -MD -std=c99
//# run: -c a.c -MD -std=c11 -Wall
//# run: -c a.c -MD -ansi -DNOLINE
//# run: -c a.c -MD -Wunused-macros
//# run(c++): -c -x c++ a.c -MD
#if 0
#include "not-there.h"
it's garbage "with quotes and #include
#else garbage
#endif
#ifdef NEVER
# include "never.h"
#elif 0 && \
   __has_include("nothing.h")
#  include "never2.h"
#endif
/* a comment \
#include "in-comment.h"
*/
#include /* between */ "c1.h" /* after */
#\
include "c2.h"
#inc\
lude "c3.h"
%:include "c4.h"
  #  include  "c5.h"	
#define TAIL value\
 continued
??=include "trigraph.h"
#define EMPTY
#if defined EMPTY && !defined(NEVER)
#include "c6.h"
#endif
#if (1 ? 2 : 3) == 2 && 'a' == 97 && 0x10u == 16 && -1 < 0
#include "c7.h"
#endif
#if UNKNOWN
#include "unknown.h"
#endif
#ifndef NOLINE
// a line comment that goes on \
#include "line-comment.h"
#endif
const char *s = "#include \"string.h\"\
#include \"string2.h\"";
_Pragma("GCC diagnostic push")
#pragma GCC system_header
#include "c8.h"
#include_next <limits.h>
int x = C1 + C2 + C3 + C4 + C5 + C6 + C7 + C8;
