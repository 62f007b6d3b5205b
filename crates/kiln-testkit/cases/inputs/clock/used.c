#define BUILT __DATE__
int n = STAMP + sizeof(BUILT);
