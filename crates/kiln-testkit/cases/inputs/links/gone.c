#include "gone.h"
