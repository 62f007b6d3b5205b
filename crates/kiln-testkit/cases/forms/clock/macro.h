#define WHEN __TIMESTAMP__
