int forced(void) { return pre(1) + (int) sizeof(size_t); }
