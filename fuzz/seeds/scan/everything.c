#if defined A && __has_include(<x.h>) || (1 + 2 * 3) % 4 ? 1 : 0
#include <x.h>
#elif A == 'a'
%:include "x.h" /* c */
#else
#define N(x) <x.h>
#include N(1)
#endif
#pragma once
_Pragma("push_macro(\"A\")")
const char *r = R"d(#include "no.h")d"; asm(".incbin \"f\"");
??=undef A
#embed "x.h" limit(2)
#include_next <x.h>
