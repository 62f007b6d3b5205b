//# title: messages that cannot be written
//# prelude: exec 2>/dev/full
//# run: -c -Wall a.c
//# run: -c -Wall -DBROKEN a.c
//# run: -c a.c -w
int f(int a) { int unused;
#ifdef BROKEN
return missing;
#endif
}
