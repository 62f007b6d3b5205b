#define C1 1
