#define TWO 2
#define ONE 1
