#define H 3
