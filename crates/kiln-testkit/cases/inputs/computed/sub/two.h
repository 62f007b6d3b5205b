enum { sub_two };
