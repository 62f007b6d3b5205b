extern int work(int);
int shared(int *p, int n) {
    int s = 0;
#pragma omp parallel for reduction(+ : s)
    for (int i = 0; i < n; i++) s += work(p[i]);
#pragma omp simd
    for (int i = 0; i < n; i++) p[i] = s;
#pragma acc parallel loop
    for (int i = 0; i < n; i++) p[i]++;
    return s;
}
