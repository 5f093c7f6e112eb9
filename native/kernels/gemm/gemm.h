// Matrix products C = A·B with a constant, packed B and an epilogue.
//
// Sums: K is cut into blocks of 256. Within a block products are added one after the other with fused multiply-adds; the
// blocks' sums are added to each other. Errors thus grow with 256 + K/256, not with K, and the order never depends on
// the number of threads.
#pragma once

#include <algorithm>

#include "kernels/elementwise/epilogue.h"
#include "kernels/gemm/pack.h"

namespace gristmill {

constexpr int64_t kDepth = 256;     // of a block of K
constexpr int64_t kMostRows = 144;  // of a task: its rows stay in the second-level cache

// Products of few rows wait for memory: they read this many panels at once.
constexpr int64_t kThinRows = 4, kThinPanels = 4;

// Rows that a micro-kernel does at once on this machine.
int64_t TileRows();

// How rows are divided into tiles of up to `most`: as evenly as they go. A tile of one or two rows would take nearly as long as
// a whole one, because each step of a sum waits for the one before.
struct Tiling {
  Tiling(int64_t rows, int64_t most)
      : count((rows + most - 1) / most), least(count == 0 ? 0 : rows / count), larger(count == 0 ? 0 : rows % count) {}
  int64_t first(int64_t tile) const { return tile * least + std::min(tile, larger); }  // its first row
  int64_t rows(int64_t tile) const { return least + (tile < larger ? 1 : 0); }

  int64_t count, least, larger;  // tiles; rows of one; how many at the front have one more
};

// C[rows, panels·width] (+)= A[rows, depth] · B[k0 … k0+depth, panels p0 … p1): `a` is float32 in rows of `lda`, `c`
// float32 in rows of `ldc`, with room for whole panels. `panel_scratch` has room for depth·width floats, `tiles` for
// TilesFloats(rows, depth): there A is brought into the order in which micro-kernels read it.
void MultiplyBlock(const float* a, int64_t lda, int64_t rows, int64_t depth, const Panels& b, int64_t k0, int64_t p0,
                   int64_t p1, float* c, int64_t ldc, bool accumulate, float* panel_scratch, float* tiles);
int64_t TilesFloats(int64_t rows, int64_t depth);

// How a product is cut into tasks, and what each thread needs.
struct GemmPlan {
  int64_t m = 0, rows = 0, panels = 0;  // rows and panels of a task
  int64_t row_blocks = 0, column_blocks = 0;
  bool thin = false;  // few rows, which wait for the matrix: all of K at once
  bool holds = false;  // a thread keeps all tiles of a block of rows, for the tasks with its other columns
  size_t scratch_per_thread = 0;
  int64_t tasks() const { return row_blocks * column_blocks; }
};
// `may_hold`: whether a thread's next task may be of the same rows of the same A.
GemmPlan PlanGemm(int64_t m, const Panels& b, int threads, bool may_hold = true);

// Gives rows of A as float32: rows [m0, m0+rows), columns [k0, k0+depth). Either writes them to `to` in rows of `ld`, or
// returns where they already are and sets `ld`.
class RowSource {
 public:
  virtual ~RowSource() = default;
  virtual const float* Rows(int64_t m0, int64_t rows, int64_t k0, int64_t depth, float* to, int64_t& ld) const = 0;

  // Up to TileRows() rows as a tile (simd/tiles.h), a block of columns at a time; `few` has room for the rows.
  virtual void Tile(int64_t m0, int64_t rows, int64_t k0, int64_t depth, float* to, float* few) const;

  // Which row of the result row m of the product is, and whether that is m for all.
  virtual int64_t ResultRow(int64_t m) const { return m; }
  virtual bool in_order() const { return true; }
};

// Runs a planned product; `epilogue` has been bound to the operands. The product's first column is column
// `first_column` of the result.
void RunGemm(const GemmPlan& plan, const RowSource& a, const Panels& b, const Epilogue& epilogue,
             const Operands& operands, const Workspace& workspace, int64_t first_column = 0);

// One task of it, where several products are shared at once: row m of the product is row `first_row` + m of the result.
// Where the plan holds tiles, `held` is the block of rows whose tiles are in the scratch, at first none (-1).
void RunGemmTask(const GemmPlan& plan, int64_t index, char* scratch, int64_t* held, const RowSource& a, const Panels& b,
                 const Epilogue& epilogue, const Operands& operands, int64_t first_row, int64_t first_column);

}  // namespace gristmill
