static int in_h = 1; int *h(void) { return &in_h; }
