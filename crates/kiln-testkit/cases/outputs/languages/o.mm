class k { public: int f(int x); };
int k::f(int x) { return x; }
