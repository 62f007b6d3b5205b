const char *s = __TIMESTAMP__;
