//# title: colour in pipes and files
//# run: -c -Wall a.c
//# run: -c -Wall -fdiagnostics-color a.c
//# run: -c -Wall -fdiagnostics-color=always a.c
//# run: -c -Wall -fdiagnostics-color=never a.c
//# run: -c -Wall -fdiagnostics-color=auto a.c
//# run: -c -Wall -fno-diagnostics-color a.c
//# run: GCC_COLORS='warning=01;34' -c -Wall -fdiagnostics-color=always a.c
//# run: TERM=dumb -c -Wall -fdiagnostics-color=always a.c
//# run: NO_COLOR=1 -c -Wall -fdiagnostics-color=always a.c
//# run(llvm): -c -Wall -fcolor-diagnostics a.c
//# run(llvm): -c -Wall -fansi-escape-codes -fcolor-diagnostics a.c
//# run merged: -c -Wall -fdiagnostics-color=always a.c
int f(int a) { int unused; if (a = 1) return; }
