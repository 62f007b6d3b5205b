/* Seven parts of four values each: more names than anyone tries. */
#ifndef SELECT
#define SELECT 1
#endif
#if SELECT == 1
#define P1 a
#elif SELECT == 2
#define P1 b
#elif SELECT == 3
#define P1 c
#elif SELECT == 4
#define P1 d
#endif
#if SELECT == 1
#define P2 a
#elif SELECT == 2
#define P2 b
#elif SELECT == 3
#define P2 c
#elif SELECT == 4
#define P2 d
#endif
#if SELECT == 1
#define P3 a
#elif SELECT == 2
#define P3 b
#elif SELECT == 3
#define P3 c
#elif SELECT == 4
#define P3 d
#endif
#if SELECT == 1
#define P4 a
#elif SELECT == 2
#define P4 b
#elif SELECT == 3
#define P4 c
#elif SELECT == 4
#define P4 d
#endif
#if SELECT == 1
#define P5 a
#elif SELECT == 2
#define P5 b
#elif SELECT == 3
#define P5 c
#elif SELECT == 4
#define P5 d
#endif
#if SELECT == 1
#define P6 a
#elif SELECT == 2
#define P6 b
#elif SELECT == 3
#define P6 c
#elif SELECT == 4
#define P6 d
#endif
#if SELECT == 1
#define P7 a
#elif SELECT == 2
#define P7 b
#elif SELECT == 3
#define P7 c
#elif SELECT == 4
#define P7 d
#endif
#define S_(x) #x
#define S(x) S_(x)
#define C_(a, b, c, d, e, f, g) a##b##c##d##e##f##g
#define C(a, b, c, d, e, f, g) C_(a, b, c, d, e, f, g)
#define NAME S(C(P1, P2, P3, P4, P5, P6, P7).h)
