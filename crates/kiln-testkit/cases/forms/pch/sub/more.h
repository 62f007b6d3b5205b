#pragma once
#define MORE 7
#ifdef PRE_MORE
#define EXTRA 1
#endif
