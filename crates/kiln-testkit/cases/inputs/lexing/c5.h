#define C5 1
