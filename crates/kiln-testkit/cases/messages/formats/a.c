//# title: how messages are written: formats, options shown, columns, carets, lengths, limits
//# run(gnu): -c -Wall -fdiagnostics-format=json a.c
//# run(gnu): -c -Wall -fdiagnostics-format=json -DBROKEN a.c
//# run(gnu): -c -Wall -fdiagnostics-format=text a.c
//# run(llvm): -c -Wall -fdiagnostics-format=msvc a.c
//# run(llvm): -c -Wall -fdiagnostics-format=vi a.c
//# run(clang-19): -c -Wall -fdiagnostics-format=sarif a.c
//# run: -c -Wall -fno-diagnostics-show-option a.c
//# run: -c -Wall -fno-show-column a.c
//# run(gnu): -c -Wall -fno-diagnostics-show-caret a.c
//# run(llvm): -c -Wall -fno-caret-diagnostics a.c
//# run(gnu): -c -Wall -fdiagnostics-show-line-numbers -fdiagnostics-minimum-margin-width=2 a.c
//# run(gnu): -c -Wall -fno-diagnostics-show-line-numbers a.c
//# run(gnu): -c -Wall -fdiagnostics-show-labels -fdiagnostics-show-cwe a.c
//# run(gnu): -c -Wall -fdiagnostics-column-unit=byte -fdiagnostics-column-origin=0 a.c
//# run(gnu): -c -Wall -fdiagnostics-escape-format=bytes a.c
//# run(gnu): -c -Wall -fdiagnostics-plain-output a.c
//# run(gnu): -c -Wall -fdiagnostics-urls=always a.c
//# run(gnu): -c -Wall -fdiagnostics-generate-patch a.c
//# run: -c -Wall -fdiagnostics-parseable-fixits a.c
//# run: -c -Wall -fmessage-length=40 a.c
//# run: -c -Wall -fmessage-length=0 a.c
//# run: -c -Wall -ftabstop=2 a.c
//# run: -c -Wall -fdiagnostics-show-location=every-line -fmessage-length=30 a.c
//# run(gnu): -c -Wall -fmax-errors=1 -DBROKEN a.c
//# run(llvm): -c -Wall -ferror-limit=1 -DBROKEN a.c
//# run(gnu): -c -Wall -Wfatal-errors -DBROKEN a.c
//# run(gnu): -c -Wall -ftrack-macro-expansion=0 -DBROKEN a.c
//# run(llvm): -c -Wall -fmacro-backtrace-limit=1 -DBROKEN a.c
//# run(llvm): -c -Wall -fdiagnostics-absolute-paths a.c
//# run(llvm): -c -Wall -fdiagnostics-show-category=name a.c
//# run(llvm): -c -Wall -fdiagnostics-print-source-range-info a.c
//# run(llvm): -c -Weverything a.c
//# run: -c -H a.c
//# here(gnu) timing: -c -Wall -Q a.c
//# here(llvm) unknown-option: -c -Wall -Q a.c
//# here verbose: -c -v a.c
//# here timing: -c -ftime-report a.c
#include "h.h"
#define ADD(a, b) a + b
#define OUTER(x) ADD(x, "s" * 2)
int f(int a, char *p) {
	int tab; if (a == 1);
	  return p == 3 && a & 1 == 2;
}
#ifdef BROKEN
int g(void) { return OUTER(1) + undeclared1; }
int h(void) { return strlenn("x") + undeclared2; }
struct s { int member; } v;
int k(void) { return v.membre; }
#endif
