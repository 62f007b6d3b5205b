//# title: options that are none, lack their values, or hold nonsense
//# here probe: -
//# here no-source: --
//# here no-source: ''
//# here unknown-option: -c a.c -f
//# here unknown-option: -c a.c -fno-
//# here unknown-option: -c a.c -m
//# here unknown-option: -c a.c -W,
//# here(gnu) compiler-probe: -c a.c -mno-
//# here(llvm) unknown-option: -c a.c -mno-
//# here unknown-option: -c a.c -q
//# here unknown-option: -c a.c --
//# here unknown-option: -c a.c ---
//# here unknown-option: -c a.c --no-such=1
//# here unknown-option: -c a.c -é
//# here unknown-option: -c a.c $'-f\x01'
//# here link: a.c -co x.o
//# here bad-combination: -c a.c ''
//# here missing-value: -c a.c -D
//# here missing-value: -c a.c -I
//# here missing-value: -c a.c -o
//# here missing-value: -c a.c -MT
//# here missing-value: -c a.c -Xassembler
//# here missing-value: -c a.c -isystem
//# here missing-value: -c a.c --param
//# here no-source: -c -o
//# here no-source: -c -x
//# here(gnu) compiler-probe: -c a.c --param x
//# here(llvm) bad-combination: -c a.c --param x
//# here compiler-probe: -c a.c -std=c++9999
//# here compiler-probe: -c a.c -std=
//# here compiler-probe: -c a.c -march=
//# here compiler-probe: -c a.c -march=nothing
//# here compiler-probe: -c a.c -O9999999999999999999
//# here compiler-probe: -c a.c -Ox
//# here compiler-probe: -c a.c -fvisibility=
//# here compiler-probe: -c a.c -g99
//# here compiler-probe: -c a.c -falign-functions=x
//# here compiler-probe: -c a.c -fsanitize=
//# here compiler-probe: -c a.c -fsanitize=nothing
//# run: -c a.c -D1
//# run: -c a.c -D=
//# run: -c a.c '-D A'
//# run: -c a.c '-DA(=1'
//# run: -c a.c -D'A(x,)=x'
//# run: -c a.c -U1
//# run: -c a.c -DA -DA=2
//# here bad-combination: -c a.c -I ''
//# run: -c a.c -I/
//# here special-input: -c a.c -I/dev/null
//# here preprocessor-option: -c a.c -Wp,
//# run: -c a.c -Wl,
//# here assembler-option: -c a.c -Wa,
//# here assembler-option: -c a.c -Wa,,
//# here preprocessor-option: -c a.c -Wp,-no-such
//# here assembler-option: -c a.c -Wa,--no-such
//# here preprocessor-option: -c a.c -Xpreprocessor --
//# here assembler-option: -c a.c -Xassembler ''
//# here(llvm) backend-option: -c a.c -Xclang -no-such
//# here(llvm) missing-value: -c a.c -Xclang
//# here(llvm) backend-option: -c a.c -mllvm -no-such
//# here source: -c nothing.c
//# here source: -c nothing.c -o x.o
//# here linker-input: -c .
//# here linker-input: -c /
//# here source: -c /dev/null/x.c
//# here(gnu) compiler-probe: -c a.c -fabi-version=-1
//# here(gnu) dump: -c a.c -fdump-tree-nothing
int x;
