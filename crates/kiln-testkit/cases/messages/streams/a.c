//# title: streams that are closed, full, or one and the same
//# prelude: exec 2>&-
//# run: -c -Wall a.c
//# run: -c -Wall -DBROKEN a.c
//# run: -c a.c -w
int f(int a) { int unused;
#ifdef BROKEN
return missing;
#endif
}
