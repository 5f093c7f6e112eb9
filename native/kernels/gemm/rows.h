// Rows of a dense matrix as the product wants them.
#pragma once

#include "kernels/gemm/gemm.h"

namespace gristmill {

// A dense [M, K] operand: float32 is used where it stands, float16 is widened block by block. Where `factors` [M / group,
// K] are given, each row is multiplied by the factors of its group of rows on the way; they have the type of `x`.
class DenseRows : public RowSource {
 public:
  DenseRows(const Tensor& x, int64_t k, const Tensor* factors = nullptr, int64_t group = 1)
      : x_(x), k_(k), factors_(factors == nullptr ? nullptr : factors->as<char>()), group_(group) {}

  const float* Rows(int64_t m0, int64_t rows, int64_t k0, int64_t depth, float* to, int64_t& ld) const override;
  void Tile(int64_t m0, int64_t rows, int64_t k0, int64_t depth, float* to, float* few) const override;

 private:
  Tensor x_;
  int64_t k_;
  const char* factors_;
  int64_t group_;
};

}  // namespace gristmill
