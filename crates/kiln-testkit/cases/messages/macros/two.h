#define INNER(x) ((x) + 1)
static int from_two(int a) { int unused_in_two; return a = a; }
