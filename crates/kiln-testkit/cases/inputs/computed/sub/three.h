enum { sub_three };
