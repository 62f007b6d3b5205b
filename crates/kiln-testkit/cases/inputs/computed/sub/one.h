enum { sub_one };
