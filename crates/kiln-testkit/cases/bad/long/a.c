//# title: very long command lines
//# run: -c a.c {40000*-DMACRO_NUMBER_#=value_of_this}
//# run: -c a.c {3000*-Idirectory_that_is_not_there/#}
//# here unknown-option: -c a.c {50*-fno-such-#}
//# run: -c a.c {2000*-Wno-such-#}
//# run: -c a.c {5000*-O2}
//# here(gnu) linker-input: -c {10000*none_#.o}
//# here(gnu) linker-input: -c a.c {10000*none_#.o}
//# here(llvm) linker-input: -c a.c {1000*none_#.o}
//# here(gcc) link: {10000*none_#.o} -o prog
//# here(gcc clang-19) multiple-sources: -c {40*none_#.c}
//# here(gcc) multiple-sources: {40*a.c} -c
//# here source: -c {2000*-MT} a.c
int x;
