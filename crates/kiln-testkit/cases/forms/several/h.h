static inline int h(int x) { return x + 1; }
#ifdef __cplusplus
extern "C"
#endif
int twice(int x);
