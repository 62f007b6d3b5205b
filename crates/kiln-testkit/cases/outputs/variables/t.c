const char *when = __TIMESTAMP__;
