#include "imports.h"
#include "imports.h"
#import "two/x.h"
