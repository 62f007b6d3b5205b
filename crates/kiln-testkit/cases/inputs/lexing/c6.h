#define C6 1
