//# title: a limit on the size of files
//# prelude: ulimit -f 1
//# setup: mkdir out
//# run: -c -DSMALL a.c
//# run: -c a.c -o out/x.o
//# run: -S a.c
#ifdef SMALL
int x;
#else
int big[100000] = { 1, 2, 3 };
#endif
