// The short way through a prediction whose arrays all have fixed shapes.
#pragma once

#include <nanobind/nanobind.h>

namespace gristmill {

void BindDirect(nanobind::module_& m);

}  // namespace gristmill
