// Includes HWY_TARGET_INCLUDE once for each instruction set that the build chose (see CMakeLists.txt).
#include "hwy/foreach_target.h"
