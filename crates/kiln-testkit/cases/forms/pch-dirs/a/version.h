#define VERSION_A 1
