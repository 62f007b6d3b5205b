int main(int count, char **) { try { if (count) throw count; } catch (int caught) { return caught; } }
