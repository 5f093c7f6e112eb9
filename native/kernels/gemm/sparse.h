// Constant matrices of mostly zeros, which keep the other elements alone.
#pragma once

#include <memory>

#include "kernels/gemm/pack.h"

namespace gristmill {

// Elements that are not zero, and a bit for each element that says whether it is one of them. Decoded, the matrix has the
// bits that it had, so a product does not depend on how its matrix is stored.
std::shared_ptr<PackedMatrix> CompressSparse(const MatrixSource& source);

}  // namespace gristmill
