#define H 5
