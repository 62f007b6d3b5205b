int hot(int x) { return x % 3 ? x * 3 : x / 7; }
int cold(int x) { int s = 0; for (int i = 0; i < x; i++) s += hot(i) ^ i; return s; }
#ifdef MAIN
int main(void) { return MAIN == 1 ? cold(3) == 5 : cold(1000000) == 5 || cold(77) == 6; }
#else
int main(void) { return 0; }
#endif
