//# title: modes of outputs follow the umask
//# setup: mkdir out; echo old > out/b.o; chmod 640 out/b.o; echo old > out/b.d; chmod 604 out/b.d
//# prelude: umask 027
//# run: -c a.c -MD
//# run: -S a.c -o out/x.s
//# run: -c a.c -o out/b.o -MD
//# run: -c a.c --coverage -g -gsplit-dwarf -fstack-usage -o out/x.o -frandom-seed=1
int f(int x) { return x + 1; }
