#define OPTION 7
