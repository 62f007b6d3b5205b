//# title: messages in the user's language, and languages that are not installed
//# run: LC_ALL=C -c -Wall a.c
//# run: LC_ALL=POSIX -c -Wall a.c
//# run: LC_ALL=C.UTF-8 -c -Wall a.c
//# run: LC_ALL=de_DE.UTF-8 -c -Wall a.c
//# run: LC_ALL=de_DE.UTF-8 -c -Wall -DBROKEN a.c
//# run: LC_MESSAGES=de_DE.UTF-8 -c -Wall a.c
//# run: LANG=de_DE.UTF-8 LC_CTYPE=C -c -Wall a.c
//# run: LANG=de_DE.UTF-8 LANGUAGE=fr:de -c -Wall a.c
//# run: LC_ALL=C.UTF-8 LANGUAGE=de -c -Wall a.c
//# run: LC_ALL=xx_YY.UTF-8 -c -Wall a.c
//# run: LC_ALL=de_DE -c -Wall a.c
//# run: LC_ALL= LANG= -c -Wall a.c
//# run: LC_ALL=de_DE.UTF-8 -c -Wall -DASM a.c
//# here environment: LOCPATH=/nowhere -c -Wall a.c
int f(int a) {
  int unused;
#ifdef ASM
  __asm__("no such instruction");
#endif
#ifdef BROKEN
  return missing;
#endif
  if (a = 1) return 2;
}
