enum { cpath };
