// Constant matrices that stay where their file has them.
#pragma once

#include <memory>
#include <string>

#include "kernels/gemm/pack.h"

namespace gristmill {

// Whether a matrix is worth leaving in the file: it is mapped, each of its columns is a run of it, and there are many.
bool StaysInFile(const MatrixSource& source, const FileRange& file);

// Such a matrix. Its panels are made as float32 a block at a time, with the elements that packed ones would have, so a
// product does not depend on where its matrix is.
std::shared_ptr<PackedMatrix> MapMatrix(const MatrixSource& source, const FileRange& file, std::string name);

}  // namespace gristmill
