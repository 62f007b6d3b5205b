#define C3 1
