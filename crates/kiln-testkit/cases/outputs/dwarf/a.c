//# title: debug information in all its forms and files
//# setup: mkdir out; ln -s out link
//# run: -c -g a.c
//# run: -c -g0 -g2 -O1 a.c
//# run: -c -g3 a.c
//# run: -c -ggdb -gdwarf-4 a.c
//# run: -c -gdwarf-5 -gz a.c
//# run: -c -g -gz=zlib a.c
//# run: -c -g -gz=none a.c
//# run: -c -g -gsplit-dwarf a.c
//# run: -c -g -gsplit-dwarf a.c -o out/x.y.o
//# run: -c -gsplit-dwarf -g0 a.c
//# run: -c -gsplit-dwarf a.c -o out/x
//# run: -c -g -gsplit-dwarf -O2 -ffunction-sections -gpubnames a.c
//# run(llvm): -c -g -gsplit-dwarf=single a.c
//# run(llvm): -c -g -gsplit-dwarf=split a.c -o out/z.o
//# run(llvm): -c -gline-tables-only a.c
//# run(llvm): -c -g -fdebug-compilation-dir=/else a.c
//# run: -c -g -fdebug-prefix-map={dir}=/src a.c
//# run: -c -g -ffile-prefix-map={dir}=. a.c
//# run: -c -g -fmacro-prefix-map={dir}/=/m/ -DFILE_NAME {dir}/a.c -o x.o
//# run in=out: -c -g ../a.c
//# run in=out: PWD={dir}/link -c -g ../a.c
//# run in=out: PWD=/proc/self/cwd -c -g ../a.c
//# here special-input: -c -g -I/proc/self/cwd/out a.c
//# run: -S -g a.c
//# run: -c -g -save-temps=obj a.c -o out/x.o
//# run: -c -g -frecord-gcc-switches a.c
//# run: -c -g -gno-column-info -fdebug-types-section a.c
#include "h.h"
struct s { int a; struct s *next; };
#define MACRO(x) ((x) + 1)
#ifdef FILE_NAME
const char *name = __FILE__;
#endif
int f(struct s *s) { return g(s->a) + MACRO(s->a); }
