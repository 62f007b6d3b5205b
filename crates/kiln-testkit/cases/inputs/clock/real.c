const int n = sizeof(__DATE__ " " __TIME__);
