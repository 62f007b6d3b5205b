#define FROM_OPTION 9
