// Rows of a dense matrix as the product wants them.
#pragma once

#include "kernels/elementwise/tile_program.h"
#include "kernels/gemm/gemm.h"

namespace gristmill {

// A dense [M, K] operand: float32 is used where it stands, float16 is widened block by block.
class DenseRows : public RowSource {
 public:
  DenseRows(const Tensor& x, int64_t k) : x_(x), k_(k) {}

  const float* Rows(int64_t m0, int64_t rows, int64_t k0, int64_t depth, float* to, int64_t& ld) const override {
    const char* from = x_.as<char>() + (m0 * k_ + k0) * SizeOf(x_.dtype);
    if (x_.dtype == DType::kF32) {
      ld = k_;
      return reinterpret_cast<const float*>(from);
    }
    for (int64_t i = 0; i < rows; ++i) {
      LoadTile(x_.dtype, from + i * k_ * SizeOf(x_.dtype), 1, to + i * ld, static_cast<size_t>(depth));
    }
    return to;
  }

 private:
  Tensor x_;
  int64_t k_;
};

}  // namespace gristmill
