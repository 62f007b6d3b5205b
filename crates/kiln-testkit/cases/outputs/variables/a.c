//# title: variables that are seldom set
//# here environment: X_INCLUDE_PATH=inc -c a.c
//# here environment: CLANG_MODULE_CACHE_PATH=none -c a.c
//# here environment: COLLECT_GCC_OPTIONS=-v -c a.c
//# here environment: LLVM_OVERRIDE_PRODUCER=other -O2 -c a.c
//# here environment: SDKROOT=/nonexistent -c a.c
//# run: TZDIR=/usr/share/zoneinfo TZ=Asia/Tokyo -c t.c
//# run(gnu): GCC_EXTRA_DIAGNOSTIC_OUTPUT=fixits-v1 -c a.c
//# run(gnu): GCC_EXTRA_DIAGNOSTIC_OUTPUT=fixits-v2 -c a.c
//# run(llvm): OBJC_INCLUDE_PATH=inc -c o.m -MD
//# run(llvm): OBJCPLUS_INCLUDE_PATH=inc -c o.mm -MD
//# run(llvm): OBJC_INCLUDE_PATH=inc -c o.mm -MD
//# run(gnu) tty=80: TERM=xterm TERMINFO_DIRS=/nonexistent -c a.c
//# here unknown-terminal(llvm) tty=80: TERM=xterm TERMINFO_DIRS=/nonexistent -c a.c
//# here environment: LD_HWCAP_MASK=0 -c a.c
//# run tty=80: TERM=xterm TERM_URLS=st -c a.c
struct s { int number; };
int f(struct s *s) { return s->numbr; }
