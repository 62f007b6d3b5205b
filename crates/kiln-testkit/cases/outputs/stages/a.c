//# title: where the command stops, and what is no compile
//# run: -S a.c
//# run: -S -c a.c
//# run: -c -S a.c -o k
//# here preprocess-only: -E a.c
//# here preprocess-only: -E a.c -o a.i
//# here preprocess-only: -E -dM a.c
//# here preprocess-only: -E -P -C a.c
//# here preprocess-only: -c -E a.c
//# here preprocess-only: -E -MD -MF e.d a.c
//# here dependencies-only: -M a.c
//# here dependencies-only: -MM a.c -MF m.d
//# here dependencies-only: -M -MG -MT x a.c
//# here dependencies-only: -MM -MP -MQ '$x' a.c
//# here bad-combination: -c -MD -MG a.c
//# here syntax-only: -fsyntax-only a.c
//# here syntax-only: -fsyntax-only -Wall -c a.c
//# here link: a.c -o prog
//# here link: a.c
//# here link: -g a.c -o prog -MD
//# here no-source: -c
//# here no-source: -O2
//# here source: -c nothing.c
//# here probe: --version
//# here probe: -dumpmachine
//# here probe: -dumpversion
//# here probe: -print-prog-name=as
//# here probe: -print-file-name=crtbegin.o
//# here probe: -print-search-dirs
//# here probe: -E -dM -x c /dev/null
//# here probe: -c -x c /dev/null -o null.o
//# here probe: -### -c a.c
//# here probe: --help
//# here link: -no-such-option a.c
//# here unknown-option: -c --no-such-option a.c
//# here unknown-option: -c -fno-such-option a.c
//# run: -c -Wno-such-warning a.c
//# run: -c -Wno-such-warning -Wall a.c
//# here missing-value: -c a.c -o
//# here missing-value: -c a.c -MF
//# here missing-value: -c a.c -x
//# here missing-value: -c a.c -include
//# run: -c -MF stray.d a.c
//# run: -c -MP a.c
//# run: -c -MT x a.c
int main(void) { int unused; return 0; }
