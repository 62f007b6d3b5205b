//# title: raw strings, and what only looks like them
//# run: -c a.cc -MD
//# run: -c a.cc -MD -std=c++98
//# run: -c a.cc -MD -std=c++20
#define R "not raw"
#ifdef __cpp_raw_strings
const char *a = R"(
#include "not-there.h"
)" R"x(
#include "not-there-either.h"
)" )x";
const char *b = u8R"-(
#include "nor-this.h"
)-";
#endif
const char *c = "R\"(";
#include "one.h"
const char *d = ")\"";
char e = '"';
#include "two.h"
