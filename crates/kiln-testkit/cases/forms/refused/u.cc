import m;
int g() { return f(); }
