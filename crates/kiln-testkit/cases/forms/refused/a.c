#ifdef FROM_CONFIG
int config = FROM_CONFIG;
#endif
struct pair { char c; long l; };
int f(struct pair *p, int n) { int s = 0; for (int i = 0; i < n; i++) s += p[i].c; return s; }
