const wchar_t *missing_type;
int w[] = L"wide ☃";
