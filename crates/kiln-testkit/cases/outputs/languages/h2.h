int h2(void);
