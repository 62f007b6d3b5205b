//# title: __has_include, __has_include_next and __has_embed decide what is compiled
//# setup: mkdir inc; echo 'enum { found };' > inc/opt.h; mkdir dir.h
//# run: -c a.c -MD
//# run: -c a.c -MD -Iinc
//# run: -c a.c -MD -isystem inc
//# run: -c a.c -MD -Iinc '-DNAME="opt.h"'
//# run: -c a.c -MD -Iinc '-DNAME=<opt.h>'
#if __has_include("opt.h")
#include "opt.h"
int with_opt;
#endif
#if __has_include(<nowhere.h>)
#error nowhere
#elif __has_include("dir.h")
int directory_counts;
#endif
#ifdef NAME
#if __has_include(NAME)
int by_name;
#endif
#endif
#if defined(__has_include) && __has_include(<stdio.h>) && !__has_include("")
int usual;
#endif
