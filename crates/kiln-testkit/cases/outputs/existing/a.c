//# title: an output that exists: a file, a link, a link to nothing, a hard link, an empty file, a directory, a read-only file
//# setup: mkdir dir; echo old > plain.o; echo old > target; ln -s target link.o; ln -s nothing dangling.o
//# setup: echo shared > one; ln one hard.o; ln one hard.s; ln one hard.d; : > empty.o; ln -s empty.o linked-empty.o; mkdir dir.o
//# setup: echo old > ro.o; chmod 444 ro.o; echo old > run.o; chmod 755 run.o; ln -s dir/x.o deep.o; echo old > dir/y.o; ln -s dir/y.o deeper.o
//# run: -c a.c -o plain.o
//# run: -c a.c -o link.o
//# run: -c a.c -o dangling.o
//# run: -c a.c -o hard.o
//# run: -S a.c -o hard.s
//# run: -c a.c -o x.o -MD -MF hard.d
//# run: -S a.c -o link.o
//# run: -S a.c -o dangling.o
//# run: -c a.c -o empty.o
//# run: -c a.c -o linked-empty.o
//# here special-output: -c a.c -o dir.o
//# run: -c a.c -o ro.o
//# run: -c a.c -o run.o
//# run: -c a.c -o deep.o
//# run: -c a.c -o deeper.o
//# run: -c -DBROKEN a.c -o plain.o
//# run: -c -DBROKEN a.c -o link.o
//# run: -c -DBROKEN a.c -o hard.o
//# run: -S -DBROKEN a.c -o plain.o
//# run: -c -DBROKEN a.c -o plain.o -MD -MF hard.d
//# here output-clash: -c a.c -o a.c
//# here output-clash: -c a.c -o x.o -MD -MF x.o
int f(int x) { return x + 1; }
#ifdef BROKEN
int f(int x) { return y; }
#endif
