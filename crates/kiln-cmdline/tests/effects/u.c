const char *accented = "é";
