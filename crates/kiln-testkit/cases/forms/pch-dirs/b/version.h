#define VERSION_B 1
