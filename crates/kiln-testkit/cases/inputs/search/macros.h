#define where renamed
int not_taken;
