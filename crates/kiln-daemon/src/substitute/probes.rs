//! What two compilers are compared by: sources that touch what has been seen to depend on the machine a compiler runs on. Data only.

/// One compile, without the compiler's name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    pub(crate) source: &'static str,
    pub(crate) options: &'static str,
}

/// The sources by name.
pub(crate) const SOURCES: [(&str, &str); 2] = [("probe.c", C), ("probe.cc", CXX)];

/// Object of each probe; its dependencies stand in a file beside it.
pub(crate) const OBJECT: &str = "probe.o";

const fn c(options: &'static str) -> Probe {
    Probe { source: "probe.c", options }
}

const fn cxx(options: &'static str) -> Probe {
    Probe { source: "probe.cc", options }
}

/// All levels of optimisation; with all macros in the debug information, so that predefined ones are compared; dependencies, so that the
/// places where headers are found are.
const FOR_C: [Probe; 7] = [
    c("-O0 -g3"),
    c("-O1"),
    c("-O2 -MD -MF probe.d"),
    c("-O2 -g -fPIC"),
    c("-O3 -funroll-loops -fno-semantic-interposition"),
    c("-Os -ffunction-sections -fdata-sections"),
    c("-O2 -S"),
];

const FOR_CXX: [Probe; 4] =
    [cxx("-O0 -g3"), cxx("-O2 -g -MD -MF probe.d"), cxx("-O3 -fPIC"), cxx("-Os -fno-exceptions -DNO_THROW")];

/// What drivers of either kind are tried with. One for C compiles C++ too.
pub(crate) fn of(cxx_driver: bool) -> Vec<Probe> {
    match cxx_driver {
        true => FOR_CXX.to_vec(),
        false => FOR_C.iter().chain(&FOR_CXX[..2]).copied().collect(),
    }
}

const C: &str = r#"
#include <stddef.h>
#include <stdarg.h>
#include <limits.h>
#include <float.h>
#if __has_include(<stdint.h>)
#include <stdint.h>
#endif
#if __has_include(<stdio.h>) && __has_include(<string.h>) && __has_include(<math.h>)
#include <stdio.h>
#include <string.h>
#include <math.h>
double folded(void) { return sin(1.5) + pow(2.3, 4.5) + exp(-0.7) + log(3.1) + tgamma(4.2) + cbrt(5.0) + hypot(1.1, 2.2); }
float folded_float(void) { return sinf(1.5f) + powf(2.3f, 4.5f) + expf(-0.7f); }
void said(char *to, const char *from, int n) { memset(to, 0, 37); memcpy(to + 1, from, 11); snprintf(to, 12, "%d %s", n, from); }
#endif
struct pair { char small; long long large; short bits : 3, more : 9; double last; };
static const struct pair table[] = { { 'a', LLONG_MIN, 1, -200, DBL_EPSILON }, { -1, 0x123456789abcdefLL, -4, 255, 1.0 / 3.0 } };
const long double wide = 1.1L / 3.0L * LDBL_MAX;
const float narrow = (float)0.1 + 16777217.0f;
size_t sizes[] = { sizeof(void *), sizeof(long double), offsetof(struct pair, last), (size_t)-1 };
int sum(int count, ...) {
    va_list list;
    int total = 0;
    va_start(list, count);
    while (count-- > 0) total += va_arg(list, int);
    va_end(list);
    return total;
}
static inline unsigned turn(unsigned x, int by) { return x << (by & 31) | x >> (-by & 31); }
unsigned mixed(const unsigned char *at, size_t len) {
    unsigned h = 0x811c9dc5u;
    for (size_t i = 0; i < len; i++) h = turn((h ^ at[i]) * 16777619u, (int)(i % 7));
    return h;
}
void axpy(double *restrict y, const double *restrict x, double a, int n) { for (int i = 0; i < n; i++) y[i] += a * x[i]; }
long long divided(long long a, long long b, int c) { return a / b + a % 10 + c / 7 + (long long)((unsigned long long)a / 1000); }
int chosen(int c) {
    switch (c) {
    case 1: return 10; case 2: return 7; case 3: return 99; case 4: return -3; case 5: return 12; case 9: return 81;
    case 100: return (int)table[0].last; case 1000: return table[1].more; default: return sum(3, c, 2, 1);
    }
}
unsigned bits(unsigned long long x) { return __builtin_popcountll(x) + __builtin_clzll(x | 1) + __builtin_bswap32((unsigned)x); }
int reals(double a, float b, long double c) { return a < b ? (int)c : a * b > 1e300; }
"#;

const CXX: &str = r#"
#include <cstddef>
#if __has_include(<algorithm>) && __has_include(<vector>)
#include <algorithm>
#include <vector>
int longest(std::vector<int> v) { std::sort(v.begin(), v.end(), [](int a, int b) { return a % 7 < b % 7; }); return v.empty() ? 0 : v.back(); }
#endif
namespace shapes {
struct Shape { virtual ~Shape() = default; virtual double area() const = 0; };
template <typename T, int N> struct Many : Shape {
    T each[N] {};
    double area() const override { double all = 0; for (const auto &one : each) all += one.area(); return all; }
};
struct Round final : Shape { double r = 1.5; double area() const override { return r * r * 3.14159265358979323846; } };
}
constexpr unsigned long long made(unsigned n) { return n < 2 ? n : made(n - 1) + made(n - 2); }
static_assert(made(20) == 6765, "");
unsigned long long table[] = { made(5), made(11), made(23) };
double sized(int n) {
    shapes::Many<shapes::Round, 5> many;
    static shapes::Many<shapes::Many<shapes::Round, 2>, 3> still;
#ifndef NO_THROW
    try { if (n > 3) throw n; } catch (int &thrown) { return thrown * 0.1; }
#endif
    return many.area() + still.area() + n;
}
auto kept = [](auto a, auto b) { return a * 0.3f + b; };
float both(int a, double b) { return kept(a, b) + kept(b, a); }
"#;
