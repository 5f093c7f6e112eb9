// Which instruction set the kernels use.
#pragma once

#include <string>
#include <vector>

namespace gristmill {

// Takes GRISTMILL_ISA into account; called once when the module loads. Throws Error when it names an instruction set
// that this build does not have or this machine cannot run.
void ChooseIsa();
std::string IsaName();
std::vector<std::string> SupportedIsas();

}  // namespace gristmill
