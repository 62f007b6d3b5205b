#pragma once
#define C8 1
#include "c8.h"
