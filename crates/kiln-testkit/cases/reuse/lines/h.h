static int g(int x) { return x + 1; }
