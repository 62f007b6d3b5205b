const char *s = "naïve – ☃";
int f(void) { int größe = 1; int x = "☃☃☃" + unknown_ümlaut; return 1; }
