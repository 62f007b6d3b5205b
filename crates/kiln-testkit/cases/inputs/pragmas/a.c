//# title: pragmas that look at files
//# setup: touch -d @1000000100 newer; touch -d @900000000 older
//# here pragma-dependency: -c a.c -MD
//# here pragma-dependency: -c a.c -MD -DOLDER
//# here pragma-dependency: -c a.c -MD -DMISSING
#pragma GCC dependency "newer"
#ifdef OLDER
#pragma GCC dependency "older" is old
#endif
#ifdef MISSING
#pragma GCC dependency "missing"
#endif
#pragma GCC poison strcpy
#pragma GCC warning "said"
#pragma message "told"
int x;
