//# title: traces of macros, templates, includes; fix-its
//# run: -c -Wall a.cc
//# run: -c -Wall -DBROKEN a.cc
//# run: -c -Wall -DBROKEN -ftemplate-backtrace-limit=1 a.cc
//# run: -c -Wall -DBROKEN -std=c++20 a.cc
//# run(gnu): -c -Wall -DBROKEN -fconcepts-diagnostics-depth=3 -std=c++20 a.cc
//# run: -c -Wall -DBROKEN -fdiagnostics-show-template-tree a.cc
//# run: -c -Wall -DBROKEN -fmax-errors=0 a.cc
//# run: -c -Wall -DLONG a.cc
//# run: -c -Weffc++ -Wall -Wextra a.cc
#include "one.h"
#include <vector>
template <class T> struct outer { template <class U> struct inner { static int f(T t, U u) { return t * u; } }; };
struct no_copy { no_copy() = default; no_copy(const no_copy &) = delete; };
#ifdef BROKEN
int g() { return outer<int>::inner<no_copy>::f(1, no_copy()); }
std::vector<int> v = WRAP("text");
int main() { std::vector<no_copy> w; w.push_back(no_copy()); v.pushback(1); return v.size; }
#endif
int old(int a) { int unused = WRAP(a); return a +-+ 1 ? : 2; }
#ifdef LONG
std::vector<std::vector<std::vector<int>>> deep; int bad = deep;
#endif
