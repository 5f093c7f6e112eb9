// Matrices in the order in which products read them.
#pragma once

#include <memory>

#include "core/buffer.h"
#include "core/kernel.h"

namespace gristmill {

// A matrix B [K, N] cut into panels of `width` columns, each panel holding its K rows one after the other. The last
// panel is filled up with zeros. Stored as float16 where the values were, else as float32.
struct Panels {
  int64_t k = 0, n = 0, width = 0;
  DType dtype = DType::kF32;
  const char* at = nullptr;

  int64_t panels() const { return (n + width - 1) / width; }
  const char* panel(int64_t p) const { return at + p * k * width * SizeOf(dtype); }
  size_t size() const { return static_cast<size_t>(panels() * k * width) * SizeOf(dtype); }
  Panels Placed(const char* where) const {
    Panels placed = *this;
    placed.at = where;
    return placed;
  }
};

// Panels of a constant, with the memory that holds them.
struct PackedMatrix : Prepared, Panels {
  Buffer data;

  size_t bytes() const override { return size(); }
};

// Columns of a panel on this machine: two vectors.
int64_t PanelWidth();

// Where the elements of a matrix [outer·inner, N] are: row o·inner + i and column n at o·outer_stride + i·inner_stride +
// n·n_stride.
struct MatrixSource {
  DType dtype;
  const void* data;
  int64_t outer, inner, n;
  int64_t outer_stride, inner_stride, n_stride;

  static MatrixSource Of(DType dtype, const void* data, int64_t k, int64_t n, int64_t k_stride, int64_t n_stride) {
    return {dtype, data, 1, k, n, 0, k_stride, n_stride};
  }
  int64_t k() const { return outer * inner; }
};

// Packs a constant, by as many threads as the process uses.
std::shared_ptr<PackedMatrix> PackMatrix(const MatrixSource& source);

// Packs panels [p0, p1) as float32 to `to`, which has room for all panels.
void PackPanels(const MatrixSource& source, int64_t p0, int64_t p1, float* to);

}  // namespace gristmill
