// What finishes the rows that a product or convolution makes: bias, activation, residual, rounding.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/elementwise/tile_program.h"

namespace gristmill {

// The commonest program, activation(row + bias + added), which runs in one pass over the row with the same results.
// Which operands are bias and addend, -1 for none; kAdd stands for no activation, kHardSigmoid for a hard swish.
struct OnePassForm {
  int bias = -1, added = -1;
  TileOp activation = TileOp::kAdd;
  float p = 0, q = 0;

  static std::optional<OnePassForm> Of(const TileProgram& program, const std::vector<std::string>& layout);
};

// A program with the operands that it works on, as the epilogue of a kernel that makes a matrix row by row: register 0
// is the row itself; the others are operand tensors, each with a stride for rows and one for columns (0 broadcasts).
class Epilogue {
 public:
  struct Operand {
    Tensor tensor;
    int64_t row_stride = 0, column_stride = 0;
  };

  Epilogue() = default;
  // `layout` names for each operand beside the row how it meets the result: "full", "column" (one element for each
  // column) or "scalar".
  Epilogue(std::shared_ptr<TileProgram> program, std::vector<std::string> layout);
  static Epilogue From(const Attributes& attributes);  // arguments "program" and "layout"; empty when there are none

  // Takes the operands from `operands.inputs[first …]`; `columns` is the width of the result. Throws Error when they
  // do not fit it.
  void Bind(const Operands& operands, size_t first, int64_t columns);

  // Finishes elements [column, column + count) of one row: applies the program to `values` (float32, with room up to a
  // whole vector) and stores the results in `outputs`.
  void Finish(float* values, int64_t row, int64_t column, size_t count, const Operands& operands) const;

  // The same for `rows` rows one after the other, which lie `ld` floats apart in `values`. Short rows share a tile.
  void FinishRows(float* values, int64_t ld, int64_t row, int64_t rows, int64_t column, size_t count,
                  const Operands& operands) const;

 private:
  void FinishInOnePass(const float* values, int64_t ld, int64_t row, int64_t rows, int64_t column, size_t count,
                       const Operands& operands) const;
  bool AllFloats(const Operands& operands) const;

  std::shared_ptr<TileProgram> program_;
  std::optional<OnePassForm> one_pass_;
  std::vector<std::string> layout_;
  std::vector<Operand> operands_;
  int64_t columns_ = 0;
};

}  // namespace gristmill
