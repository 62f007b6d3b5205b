//# title: outputs that are no regular files, and directories that are none
//# setup: mkfifo fifo; ln -s /dev/null null.o
//# here special-output: -c a.c -o /dev/null
//# here special-output: -c a.c -o null.o
//# here special-output: -S a.c -o -
//# here special-output: -S a.c -o /dev/stdout
//# here special-output: -c a.c -o ''
//# here output-directory: -c a.c -o none/x.o
//# here output-directory: -c a.c -o none/x.o -MD
//# here output-directory: -c a.c -o a.c/x.o
//# run: -c a.c -o x.o -MD -MF /dev/null
//# run: -c a.c -MD -MF -
//# here special-output: -c a.c -MD -MF /dev/stdout -o x.o
int f(int x) { return x + 1; }
