#include <h.h>
#include "near.h"
struct Base { virtual ~Base() {} virtual int m() const { return H; } int x = 1; };
struct Left : virtual Base { int m() const override { return 2; } };
struct Right : virtual Base { int l = NEAR; };
struct Both : Left, Right { int m() const override { return Left::m() + l; } };
template <typename T> T twice(T t) { return t + t; }
template <int N> struct Depth { static constexpr int value = Depth<N - 1>::value + 1; };
template <> struct Depth<0> { static constexpr int value = 0; };
static Both made;
thread_local int tls = made.m();
inline int inlined(int x) { static int once = x * 7; return once; }
int throwing(int x) { try { if (x) throw x; } catch (int caught) { return caught; } return 0; }
bool is_right(const Base &b) { return dynamic_cast<const Right *>(&b); }
int *fresh(int n) { int *p = new int[n]; p[0] = twice(n) + Depth<20>::value; return p; }
void gone(Both *b) { delete b; }
int use(Base *b) { auto f = [b](int k) { return b->m() + k; }; return f(3) + inlined(4); }
Both copied(Both b) { Both c = b; return c; }
enum class kind : char { a, b }; int of(kind k) { switch (k) { case kind::a: return 1; } return 0; }
#ifdef FROM_OPTION
int from_option = FROM_OPTION;
#endif
