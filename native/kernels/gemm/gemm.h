// Matrix products C = A·B with a constant, packed B and an epilogue.
//
// Sums: K is cut into blocks of 256. Within a block products are added one after the other with fused multiply-adds; the
// blocks' sums are added to each other. Errors thus grow with 256 + K/256, not with K, and the order never depends on
// the number of threads.
#pragma once

#include <memory>

#include "core/buffer.h"
#include "core/kernel.h"
#include "kernels/elementwise/tile_program.h"

namespace gristmill {

constexpr int64_t kDepth = 256;  // of a block of K

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

// Packs `source`, whose element [k, n] is at k·k_stride + n·n_stride.
std::shared_ptr<PackedMatrix> PackMatrix(DType dtype, const void* source, int64_t k, int64_t n, int64_t k_stride,
                                         int64_t n_stride);

// Columns of a panel on this machine: two vectors.
int64_t PanelWidth();
// Rows that a micro-kernel does at once on this machine.
int64_t TileRows();

// C[rows, panels·width] (+)= A[rows, depth] · B[k0 … k0+depth, panels p0 … p1): `a` is float32 in rows of `lda`, `c`
// float32 in rows of `ldc`, with room for whole panels. `panel_scratch` has room for depth·width floats.
void MultiplyBlock(const float* a, int64_t lda, int64_t rows, int64_t depth, const Panels& b, int64_t k0,
                   int64_t p0, int64_t p1, float* c, int64_t ldc, bool accumulate, float* panel_scratch);

// How a product is cut into tasks, and what each thread needs.
struct GemmPlan {
  int64_t m = 0, rows = 0, panels = 0;  // rows and panels of a task
  int64_t row_blocks = 0, column_blocks = 0;
  size_t scratch_per_thread = 0;
  int64_t tasks() const { return row_blocks * column_blocks; }
};
GemmPlan PlanGemm(int64_t m, const Panels& b, int threads);

// Gives rows of A as float32: rows [m0, m0+rows), columns [k0, k0+depth). Either writes them to `to` in rows of `ld`, or
// returns where they already are and sets `ld`.
class RowSource {
 public:
  virtual ~RowSource() = default;
  virtual const float* Rows(int64_t m0, int64_t rows, int64_t k0, int64_t depth, float* to, int64_t& ld) const = 0;

  // Which row of the result row m of the product is, and whether that is m for all.
  virtual int64_t ResultRow(int64_t m) const { return m; }
  virtual bool in_order() const { return true; }
};

// Runs a planned product; `epilogue` has been bound to the operands. The product's first column is column
// `first_column` of the result.
void RunGemm(const GemmPlan& plan, const RowSource& a, const Panels& b, const Epilogue& epilogue,
             const Operands& operands, const Workspace& workspace, int64_t first_column = 0);

// One task of it, where several products are shared at once: row m of the product is row `first_row` + m of the result.
void RunGemmTask(const GemmPlan& plan, int64_t index, char* scratch, const RowSource& a, const Panels& b,
                 const Epilogue& epilogue, const Operands& operands, int64_t first_row, int64_t first_column);

// Packs panels [p0, p1) of a float32 or float16 matrix as float32 to `to`, which has room for all panels.
void PackPanels(DType dtype, const void* source, int64_t k, int64_t n, int64_t k_stride, int64_t n_stride, int64_t p0,
                int64_t p1, float* to);

}  // namespace gristmill
