enum { two };
