enum { one };
