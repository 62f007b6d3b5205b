#define H 6
