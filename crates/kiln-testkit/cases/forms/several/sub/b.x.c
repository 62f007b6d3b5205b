int alone(int x) { int y; return x; }
