extern int puts(const char *);
int set;
int main(int argc, char **argv) { set = argc; return puts(argv[0]); }
