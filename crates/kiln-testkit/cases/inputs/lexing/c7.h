#define C7 1
