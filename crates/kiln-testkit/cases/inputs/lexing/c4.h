#define C4 1
