#ifdef CRASH
#pragma clang __debug crash
#endif
#ifdef TRAP
#pragma clang __debug llvm_fatal_error
#endif
