extern double sqrt(double), fabs(double), floor(double);
extern float sqrtf(float);
int sum(const int *p, int n) { int s = 0; for (int i = 0; i < n; i++) s += p[i]; return s; }
void scale(float *restrict a, const float *restrict b, float k, int n) { for (int i = 0; i < n; i++) a[i] = b[i] * k + a[i]; }
double pow2(double x, double y) { return x * x + sqrt(y) / 3.0 + x * y + fabs(floor(x)); }
float f32(float a, float b) { return a / b + sqrtf(a) - (a != a) + (a < b); }
void loops(double m[16][16], double n[16][16], int k) { for (int i = 0; i < 16; i++) { if (k) n[i][0] = 1; for (int j = 0; j < 16; j++) m[j][i] = n[j][i] + n[i][j]; } }
void zero(int *p, int n) { for (int i = 0; i < n; i++) p[i] = 0; for (int i = 0; i < n; i++) p[i] += i; }
int search(const char *s, int c) { while (*s && *s != c) s++; return *s; }
long double wide(long double x, int n) { while (n--) x = x * x + n; return x; }
_Complex double turn(_Complex double a, _Complex double b) { return a * b / (a + b); }
