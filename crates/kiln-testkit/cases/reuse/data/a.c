#ifndef V
#define V 0
#endif
int f(int *x) { return *x + V; }
