#define H 7
