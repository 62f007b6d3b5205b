#define Q 7
