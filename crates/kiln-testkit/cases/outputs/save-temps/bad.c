int f(int x) { return missing; }
