#include <h.h>
@interface Thing { int value, number; } - (int) value; + (id) make; @property int number; @end
@implementation Thing - (int) value { return value + H; } + (id) make { return 0; } @synthesize number; @end
int use(Thing *t) { t.number = 3; return [t value] + [t number]; }
