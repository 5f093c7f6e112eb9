#include "kernels/gemm/gemm.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/gemm.cc"
#include "simd/foreach_target.h"
#include "simd/simd.h"

GRISTMILL_SIMD_BEGIN

// A tile of rows × 2 vectors fills the registers: 6 of 16, or 14 of 32.
constexpr int kTileRows = HWY_TARGET <= HWY_AVX3 ? 14 : 6;

int64_t PanelWidthHere() { return static_cast<int64_t>(2 * Lanes()); }
int64_t TileRowsHere() { return kTileRows; }

// One tile: R rows, one panel, `depth` steps.
template <int R, typename T>
HWY_INLINE void Tile(const float* HWY_RESTRICT a, int64_t lda, const T* HWY_RESTRICT b, int64_t depth,
                     float* HWY_RESTRICT c, int64_t ldc, bool accumulate) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(Lanes());
  VF left[R], right[R];
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) left[i] = right[i] = hn::Zero(d);
  for (int64_t k = 0; k < depth; ++k) {
    const VF b0 = LoadF(b), b1 = LoadF(b + lanes);
    b += 2 * lanes;
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const VF x = hn::Set(d, a[i * lda + k]);
      left[i] = hn::MulAdd(x, b0, left[i]);
      right[i] = hn::MulAdd(x, b1, right[i]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) {
    float* to = c + i * ldc;
    if (accumulate) {
      left[i] = hn::Add(left[i], hn::LoadU(d, to));
      right[i] = hn::Add(right[i], hn::LoadU(d, to + lanes));
    }
    hn::StoreU(left[i], d, to);
    hn::StoreU(right[i], d, to + lanes);
  }
}

// Few rows wait for memory, or for the latency of their own additions: four steps at a time, each with sums of its own.
template <int R, typename T>
HWY_INLINE void ThinTile(const float* HWY_RESTRICT a, int64_t lda, const T* HWY_RESTRICT b, int64_t depth,
                         float* HWY_RESTRICT c, int64_t ldc, bool accumulate) {
  constexpr int kWays = R == 1 ? 4 : 2;
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(Lanes());
  VF left[kWays][R], right[kWays][R];
#pragma GCC unroll 4
  for (int w = 0; w < kWays; ++w) {
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) left[w][i] = right[w][i] = hn::Zero(d);
  }
  int64_t k = 0;
  for (; k + kWays <= depth; k += kWays) {
    __builtin_prefetch(b + 1024);
#pragma GCC unroll 4
    for (int w = 0; w < kWays; ++w) {
      const VF b0 = LoadF(b + 2 * w * lanes), b1 = LoadF(b + (2 * w + 1) * lanes);
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) {
        const VF x = hn::Set(d, a[i * lda + k + w]);
        left[w][i] = hn::MulAdd(x, b0, left[w][i]);
        right[w][i] = hn::MulAdd(x, b1, right[w][i]);
      }
    }
    b += 2 * kWays * lanes;
  }
  for (; k < depth; ++k, b += 2 * lanes) {
    for (int i = 0; i < R; ++i) {
      const VF x = hn::Set(d, a[i * lda + k]);
      left[0][i] = hn::MulAdd(x, LoadF(b), left[0][i]);
      right[0][i] = hn::MulAdd(x, LoadF(b + lanes), right[0][i]);
    }
  }
  for (int i = 0; i < R; ++i) {
    VF l = left[0][i], r = right[0][i];
    for (int w = 1; w < kWays; ++w) l = hn::Add(l, left[w][i]), r = hn::Add(r, right[w][i]);
    float* to = c + i * ldc;
    if (accumulate) l = hn::Add(l, hn::LoadU(d, to)), r = hn::Add(r, hn::LoadU(d, to + lanes));
    hn::StoreU(l, d, to);
    hn::StoreU(r, d, to + lanes);
  }
}

template <typename T>
void Remainder(int64_t rows, const float* a, int64_t lda, const T* b, int64_t depth, float* c, int64_t ldc,
               bool accumulate) {
  switch (rows) {
#define GRISTMILL_ROWS(R) \
  case R:                 \
    return Tile<R>(a, lda, b, depth, c, ldc, accumulate);
    case 1:
      return ThinTile<1>(a, lda, b, depth, c, ldc, accumulate);
    case 2:
      return ThinTile<2>(a, lda, b, depth, c, ldc, accumulate);
    GRISTMILL_ROWS(3)
    GRISTMILL_ROWS(4)
    GRISTMILL_ROWS(5)
#if HWY_TARGET <= HWY_AVX3
    GRISTMILL_ROWS(6)
    GRISTMILL_ROWS(7)
    GRISTMILL_ROWS(8)
    GRISTMILL_ROWS(9)
    GRISTMILL_ROWS(10)
    GRISTMILL_ROWS(11)
    GRISTMILL_ROWS(12)
    GRISTMILL_ROWS(13)
#endif
#undef GRISTMILL_ROWS
    default:
      return;
  }
}

template <typename T>
HWY_INLINE void Panel(const float* a, int64_t lda, int64_t rows, const T* b, int64_t depth, float* c, int64_t ldc,
                      bool accumulate) {
  int64_t i = 0;
  for (; i + kTileRows <= rows; i += kTileRows) {
    Tile<kTileRows>(a + i * lda, lda, b, depth, c + i * ldc, ldc, accumulate);
  }
  if (i < rows) Remainder(rows - i, a + i * lda, lda, b, depth, c + i * ldc, ldc, accumulate);
}

void Multiply(const float* a, int64_t lda, int64_t rows, int64_t depth, const Panels& b, int64_t k0, int64_t p0,
              int64_t p1, float* c, int64_t ldc, bool accumulate, float* panel_scratch) {
  for (int64_t p = p0; p < p1; ++p) {
    float* to = c + (p - p0) * b.width;
    if (b.dtype == DType::kF32) {
      const float* panel = reinterpret_cast<const float*>(b.panel(p)) + k0 * b.width;
      Panel(a, lda, rows, panel, depth, to, ldc, accumulate);
      continue;
    }
    const half* panel = reinterpret_cast<const half*>(b.panel(p)) + k0 * b.width;
    if (rows < 3 * kTileRows) {
      Panel(a, lda, rows, panel, depth, to, ldc, accumulate);
    } else {  // widened once for many rows
      ConvertRun(panel, panel_scratch, static_cast<size_t>(depth * b.width));
      Panel(a, lda, rows, static_cast<const float*>(panel_scratch), depth, to, ldc, accumulate);
    }
  }
}

template <typename T>
void PackInto(const T* source, int64_t k_stride, int64_t n_stride, PackedMatrix& to) {
  T* out = to.data.as<T>();
  for (int64_t p = 0; p < to.panels(); ++p) {
    const int64_t n0 = p * to.width, columns = std::min(to.width, to.n - n0);
    const T* from = source + n0 * n_stride;
    for (int64_t k = 0; k < to.k; ++k, out += to.width) {
      for (int64_t j = 0; j < columns; ++j) memcpy(out + j, from + k * k_stride + j * n_stride, sizeof(T));
      if (columns < to.width) memset(static_cast<void*>(out + columns), 0, (to.width - columns) * sizeof(T));
    }
  }
}

void Pack(const void* source, int64_t k_stride, int64_t n_stride, PackedMatrix& to) {
  if (to.dtype == DType::kF32) {
    PackInto(static_cast<const float*>(source), k_stride, n_stride, to);
  } else {
    PackInto(static_cast<const uint16_t*>(source), k_stride, n_stride, to);
  }
}

template <typename T>
void PackFloatsOf(const T* source, int64_t k, int64_t n, int64_t k_stride, int64_t n_stride, int64_t p0, int64_t p1,
                  float* to) {
  const int64_t width = PanelWidthHere(), lanes = static_cast<int64_t>(Lanes());
  for (int64_t p = p0; p < p1; ++p) {
    float* out = to + p * k * width;
    const int64_t n0 = p * width, columns = std::min(width, n - n0);
    const T* from = source + n0 * n_stride;
    if (n_stride == 1 && columns == width) {
      for (int64_t i = 0; i < k; ++i) {
        StoreF(LoadF(from + i * k_stride), out + i * width);
        StoreF(LoadF(from + i * k_stride + lanes), out + i * width + lanes);
      }
      continue;
    }
    if (columns < width) std::fill(out, out + k * width, 0.0f);
    if (k_stride == 1) {  // rows of the source are columns of the panel: a block of each at a time
      float row[64];
      for (int64_t k0 = 0; k0 < k; k0 += 64) {
        const int64_t depth = std::min<int64_t>(64, k - k0);
        for (int64_t j = 0; j < columns; ++j) {
          ConvertRun(from + j * n_stride + k0, row, static_cast<size_t>(depth));
          for (int64_t i = 0; i < depth; ++i) out[(k0 + i) * width + j] = row[i];
        }
      }
      continue;
    }
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = 0; j < columns; ++j) {
        out[i * width + j] = hn::GetLane(LoadFirst(from + i * k_stride + j * n_stride, 1));
      }
    }
  }
}

void PackFloats(DType dtype, const void* source, int64_t k, int64_t n, int64_t k_stride, int64_t n_stride, int64_t p0,
                int64_t p1, float* to) {
  if (dtype == DType::kF32) {
    PackFloatsOf(static_cast<const float*>(source), k, n, k_stride, n_stride, p0, p1, to);
  } else {
    PackFloatsOf(static_cast<const half*>(source), k, n, k_stride, n_stride, p0, p1, to);
  }
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {

HWY_EXPORT(PackFloats);
HWY_EXPORT(Multiply);
HWY_EXPORT(Pack);
HWY_EXPORT(PanelWidthHere);
HWY_EXPORT(TileRowsHere);

int64_t PanelWidth() { return HWY_DYNAMIC_DISPATCH(PanelWidthHere)(); }
int64_t TileRows() { return HWY_DYNAMIC_DISPATCH(TileRowsHere)(); }

void MultiplyBlock(const float* a, int64_t lda, int64_t rows, int64_t depth, const Panels& b, int64_t k0,
                   int64_t p0, int64_t p1, float* c, int64_t ldc, bool accumulate, float* panel_scratch) {
  HWY_DYNAMIC_DISPATCH(Multiply)(a, lda, rows, depth, b, k0, p0, p1, c, ldc, accumulate, panel_scratch);
}

std::shared_ptr<PackedMatrix> PackMatrix(DType dtype, const void* source, int64_t k, int64_t n, int64_t k_stride,
                                         int64_t n_stride) {
  Require(dtype == DType::kF16 || dtype == DType::kF32, "packed matrices are float16 or float32");
  auto packed = std::make_shared<PackedMatrix>();
  packed->k = k;
  packed->n = n;
  packed->width = PanelWidth();
  packed->dtype = dtype;
  packed->data.Resize(packed->bytes());
  packed->at = packed->data.as<char>();
  HWY_DYNAMIC_DISPATCH(Pack)(source, k_stride, n_stride, *packed);
  return packed;
}

GemmPlan PlanGemm(int64_t m, const Panels& b, int threads) {
  // A block of A (rows × 256 floats, 96 kB) and its block of C stay in the second-level cache. Fewer rows and panels a
  // task where there would be too few tasks to share.
  const int64_t tile = TileRows();
  GemmPlan plan;
  plan.m = m;
  plan.rows = std::min((96 / tile) * tile, (std::max<int64_t>(m, 1) + tile - 1) / tile * tile);
  plan.panels = std::clamp<int64_t>(b.panels(), 1, 16);
  auto count = [&] {
    plan.row_blocks = (m + plan.rows - 1) / plan.rows;
    plan.column_blocks = (b.panels() + plan.panels - 1) / plan.panels;
    return plan.tasks();
  };
  while (count() < 4 * threads && threads > 1) {
    if (plan.panels > 4) {
      plan.panels = (plan.panels + 1) / 2;
    } else if (plan.rows > 4 * tile) {
      plan.rows = (plan.rows / tile + 1) / 2 * tile;
    } else {
      break;
    }
  }
  count();
  const int64_t rows = std::min(plan.rows, m);
  plan.scratch_per_thread =
      sizeof(float) * static_cast<size_t>(rows * (kDepth + 16) + rows * plan.panels * b.width + kDepth * b.width + 64);
  return plan;
}

void PackPanels(DType dtype, const void* source, int64_t k, int64_t n, int64_t k_stride, int64_t n_stride, int64_t p0,
                int64_t p1, float* to) {
  HWY_DYNAMIC_DISPATCH(PackFloats)(dtype, source, k, n, k_stride, n_stride, p0, p1, to);
}

void RunGemmTask(const GemmPlan& plan, int64_t index, char* scratch, const RowSource& a, const Panels& b,
                 const Epilogue& epilogue, const Operands& operands, int64_t first_row, int64_t first_column) {
  const int64_t m0 = index / plan.column_blocks * plan.rows, rows = std::min(plan.rows, plan.m - m0);
  const int64_t p0 = index % plan.column_blocks * plan.panels, p1 = std::min(p0 + plan.panels, b.panels());
  float* panel = reinterpret_cast<float*>(scratch);
  float* c = panel + kDepth * b.width;
  const int64_t ldc = plan.panels * b.width;
  float* block = c + std::min(plan.rows, plan.m) * ldc;
  for (int64_t k0 = 0; k0 < b.k || k0 == 0; k0 += kDepth) {
    const int64_t depth = std::min(kDepth, b.k - k0);
    int64_t ld = kDepth + 16;  // not a power of two: rows would share cache sets
    const float* from = a.Rows(m0, rows, k0, depth, block, ld);
    MultiplyBlock(from, ld, rows, depth, b, k0, p0, p1, c, ldc, k0 > 0, panel);
  }
  const int64_t column = p0 * b.width;
  const size_t columns = static_cast<size_t>(std::min(p1 * b.width, b.n) - column);
  if (a.in_order()) {
    epilogue.FinishRows(c, ldc, first_row + m0, rows, first_column + column, columns, operands);
    return;
  }
  for (int64_t i = 0; i < rows; ++i) {
    epilogue.Finish(c + i * ldc, first_row + a.ResultRow(m0 + i), first_column + column, columns, operands);
  }
}

void RunGemm(const GemmPlan& plan, const RowSource& a, const Panels& b, const Epilogue& epilogue,
             const Operands& operands, const Workspace& workspace, int64_t first_column) {
  workspace.Parallel(plan.tasks(), [&](int64_t index, int thread) {
    RunGemmTask(plan, index, workspace.scratch + thread * plan.scratch_per_thread, a, b, epilogue, operands, 0,
                first_column);
  });
}

}  // namespace gristmill
#endif  // HWY_ONCE
