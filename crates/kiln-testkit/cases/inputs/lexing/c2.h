#define C2 1
