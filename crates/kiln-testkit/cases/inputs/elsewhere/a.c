#include <x.h>
int x = shm;
