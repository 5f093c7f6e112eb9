// Constant matrices that are used where their file has them until they are packed.
#pragma once

#include <memory>
#include <string>

#include "kernels/gemm/pack.h"

namespace gristmill {

// Whether a matrix is worth leaving in the file at first: it is mapped, the elements of each of its columns, in any order,
// are a run of it, there are many, and a thread is free to pack it later.
bool StaysInFile(const MatrixSource& source, const FileRange& file);

// Such a matrix. Its panels are made as float32 a block at a time, with the elements that packed ones would have, so a
// product does not depend on where its matrix is. That is there at once, but slower than packed panels with their huge
// pages: those are made in the background after the first run, or when few rows are multiplied.
std::shared_ptr<PackedMatrix> MapMatrix(const MatrixSource& source, const FileRange& file, std::string name);

}  // namespace gristmill
