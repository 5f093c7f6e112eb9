#include "kernels/gemm/gemm.h"

#include <algorithm>
#include <atomic>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/gemm.cc"
#include "simd/foreach_target.h"
#include "simd/simd.h"
#include "simd/tiles.h"

GRISTMILL_SIMD_BEGIN

static_assert(kThinRows < kTileRows, "few rows are less than a tile");

int64_t TileRowsHere() { return kTileRows; }

void PackRowsAsTile(const float* a, int64_t lda, int64_t rows, int64_t depth, float* to) {
  PackTile<float>(a, lda, rows, depth, nullptr, to);
}

// One tile: R rows of it, one panel, `depth` steps. With kWidens, what it reads of the panel is written to `wide` as float32:
// that happens beside the arithmetic. The panel may end where `wide` does.
template <int R, bool kWidens = false, typename T>
HWY_INLINE void Tile(const float* HWY_RESTRICT a, const T* b, int64_t depth, float* HWY_RESTRICT c, int64_t ldc,
                     bool accumulate, float* wide = nullptr) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(Lanes());
  VF left[R], right[R];
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) left[i] = right[i] = hn::Zero(d);
#pragma GCC unroll 4
  for (int64_t k = 0; k < depth; ++k) {
    const VF b0 = LoadF(b), b1 = LoadF(b + lanes);
    b += 2 * lanes;
    if constexpr (kWidens) {
      hn::StoreU(b0, d, wide);
      hn::StoreU(b1, d, wide + lanes);
      wide += 2 * lanes;
    }
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const VF x = hn::Set(d, a[i]);
      left[i] = hn::MulAdd(x, b0, left[i]);
      right[i] = hn::MulAdd(x, b1, right[i]);
    }
    a += kTileRows;
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

// Two tiles of R rows with a panel whose second vector holds no columns, so that its sums' registers are free.
template <int R, typename T>
HWY_INLINE void NarrowTiles(const float* HWY_RESTRICT a, const T* b, int64_t depth, float* HWY_RESTRICT c, int64_t ldc,
                            bool accumulate) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(Lanes());
  VF sums[2 * R];
#pragma GCC unroll 32
  for (VF& sum : sums) sum = hn::Zero(d);
#pragma GCC unroll 4
  for (int64_t k = 0; k < depth; ++k, a += kTileRows, b += 2 * lanes) {
    const VF by = LoadF(b);
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      sums[i] = hn::MulAdd(hn::Set(d, a[i]), by, sums[i]);
      sums[R + i] = hn::MulAdd(hn::Set(d, a[kTileRows * depth + i]), by, sums[R + i]);
    }
  }
#pragma GCC unroll 32
  for (int i = 0; i < 2 * R; ++i) {
    float* to = c + i * ldc;
    hn::StoreU(accumulate ? hn::Add(sums[i], hn::LoadU(d, to)) : sums[i], d, to);
  }
}

// Few rows wait for memory, which gives more to several streams at once: S panels, `pitch` elements apart, together. Sums
// go in the order of the steps, as in a whole tile.
template <int R, int S, typename T>
HWY_INLINE void ThinTile(const float* HWY_RESTRICT a, int64_t lda, const T* HWY_RESTRICT b, int64_t pitch, int64_t depth,
                         float* HWY_RESTRICT c, int64_t ldc, bool accumulate) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(Lanes());
  VF left[S][R], right[S][R];
#pragma GCC unroll 4
  for (int s = 0; s < S; ++s) {
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) left[s][i] = right[s][i] = hn::Zero(d);
  }
#pragma GCC unroll 2
  for (int64_t k = 0; k < depth; ++k, b += 2 * lanes) {
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) {
      const VF b0 = LoadF(b + s * pitch), b1 = LoadF(b + s * pitch + lanes);
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) {
        const VF x = hn::Set(d, a[i * lda + k]);
        left[s][i] = hn::MulAdd(x, b0, left[s][i]);
        right[s][i] = hn::MulAdd(x, b1, right[s][i]);
      }
    }
  }
#pragma GCC unroll 4
  for (int s = 0; s < S; ++s) {
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) {
      float* to = c + i * ldc + 2 * s * lanes;
      VF l = left[s][i], r = right[s][i];
      if (accumulate) l = hn::Add(l, hn::LoadU(d, to)), r = hn::Add(r, hn::LoadU(d, to + lanes));
      hn::StoreU(l, d, to);
      hn::StoreU(r, d, to + lanes);
    }
  }
}

// As many panels together as registers hold sums for, the others one by one.
template <int R, typename T>
HWY_INLINE void ThinPanels(const float* a, int64_t lda, const T* b, int64_t pitch, int64_t panels, int64_t depth,
                           float* c, int64_t ldc, bool accumulate) {
  constexpr int kStreams = std::min<int>(kThinPanels, kTileRows / R);
  const int64_t width = 2 * static_cast<int64_t>(Lanes());
  int64_t p = 0;
  for (; p + kStreams <= panels; p += kStreams) {
    ThinTile<R, kStreams>(a, lda, b + p * pitch, pitch, depth, c + p * width, ldc, accumulate);
  }
  for (; p < panels; ++p) ThinTile<R, 1>(a, lda, b + p * pitch, pitch, depth, c + p * width, ldc, accumulate);
}

template <typename T>
void Thin(const float* a, int64_t lda, int64_t rows, const T* b, int64_t pitch, int64_t panels, int64_t depth, float* c,
          int64_t ldc, bool accumulate) {
  switch (rows) {
    case 1:
      return ThinPanels<1>(a, lda, b, pitch, panels, depth, c, ldc, accumulate);
    case 2:
      return ThinPanels<2>(a, lda, b, pitch, panels, depth, c, ldc, accumulate);
    case 3:
      return ThinPanels<3>(a, lda, b, pitch, panels, depth, c, ldc, accumulate);
    case 4:
      return ThinPanels<4>(a, lda, b, pitch, panels, depth, c, ldc, accumulate);
    default:
      return;
  }
}

// f of a tile's rows as a constant.
template <int R = kTileRows, typename F>
HWY_INLINE void WithRows(int64_t rows, const F& f) {
  if (rows == R) {
    f(std::integral_constant<int, R>());
  } else if constexpr (R > 1) {
    WithRows<R - 1>(rows, f);
  }
}

// Lines that will be read next, fetched into the second-level cache bit by bit while the arithmetic goes on.
struct Ahead {
  Lines lines;
  int64_t done = 0, step = 0;  // bytes of the first line; of a bit

  Ahead(const Lines& next, int64_t tiles) : lines(next), step((next.bytes * next.count / tiles + 127) / 64 * 64) {}
  HWY_INLINE void Fetch() {
    for (int64_t left = step; left > 0 && lines.count > 0; left -= 64) {
      __builtin_prefetch(lines.at + done, 0, 2);
      done += 64;
      if (done < lines.bytes) continue;
      done = 0;
      lines.at += lines.pitch, --lines.count;
    }
  }
};

// Tiles `i` to `end`, which have R rows each; `narrow` where columns of the panel are in its first vector alone.
template <int R, typename T>
HWY_INLINE void Column(const float* tiles, int64_t i, int64_t end, const T* b, int64_t depth, float* c, int64_t ldc,
                       bool accumulate, bool narrow, Ahead& ahead) {
  const int64_t pitch = kTileRows * depth;
  if constexpr (R >= kTileRows - 1) {
    for (; narrow && i + 2 <= end; i += 2, c += 2 * R * ldc) NarrowTiles<R>(tiles + i * pitch, b, depth, c, ldc, accumulate);
  }
  for (; i < end; ++i, c += R * ldc) {
    ahead.Fetch();
    Tile<R>(tiles + i * pitch, b, depth, c, ldc, accumulate);
  }
}

// The tiles of a block of rows from the tile `i` on.
template <typename T>
HWY_INLINE void Panel(const float* tiles, const Tiling& tiling, int64_t i, const T* b, int64_t depth, float* c, int64_t ldc,
                      bool accumulate, bool narrow, Ahead& ahead) {
  while (i < tiling.count) {
    const int64_t end = i < tiling.larger ? tiling.larger : tiling.count;
    WithRows(tiling.rows(i), [&](auto rows) {
      Column<decltype(rows)::value>(tiles, i, end, b, depth, c + tiling.first(i) * ldc, ldc, accumulate, narrow, ahead);
    });
    i = end;
  }
}

template <typename T>
void MultiplyThin(const float* a, int64_t lda, int64_t rows, int64_t depth, const Panels& b, int64_t k0, int64_t p0,
                  int64_t p1, float* c, int64_t ldc, bool accumulate, T* panel_scratch) {
  if (b.decoder == nullptr) {
    const T* from = reinterpret_cast<const T*>(b.panel(p0)) + k0 * b.width;
    return Thin(a, lda, rows, from, b.k * b.width, p1 - p0, depth, c, ldc, accumulate);
  }
  int64_t p = p0;
  while (p < p1 && b.decoder->Multiply(p, k0, depth, a, lda, rows, c + (p - p0) * b.width, ldc, accumulate)) ++p;
  constexpr int64_t kAtOnce = sizeof(float) / sizeof(T);  // what the scratch has room for
  for (; p < p1; p += kAtOnce) {
    const int64_t count = std::min(kAtOnce, p1 - p);
    for (int64_t i = 0; i < count; ++i) {
      b.decoder->Decode(p + i, k0, depth, reinterpret_cast<char*>(panel_scratch + i * depth * b.width));
    }
    Thin(a, lda, rows, panel_scratch, depth * b.width, count, depth, c + (p - p0) * b.width, ldc, accumulate);
  }
}

void MultiplyFew(const float* a, int64_t lda, int64_t rows, int64_t depth, const Panels& b, int64_t k0, int64_t p0,
                 int64_t p1, float* c, int64_t ldc, bool accumulate, float* panel_scratch) {
  if (b.dtype == DType::kF32) return MultiplyThin(a, lda, rows, depth, b, k0, p0, p1, c, ldc, accumulate, panel_scratch);
  half* halves = reinterpret_cast<half*>(panel_scratch);
  return MultiplyThin(a, lda, rows, depth, b, k0, p0, p1, c, ldc, accumulate, halves);
}

void MultiplyTiles(const float* tiles, int64_t rows, int64_t depth, const Panels& b, int64_t k0, int64_t p0, int64_t p1,
                   float* c, int64_t ldc, bool accumulate, float* panel_scratch) {
  const int64_t size = static_cast<int64_t>(SizeOf(b.dtype)), bytes = depth * b.width * size;
  const Tiling tiling(rows, kTileRows);
  for (int64_t p = p0; p < p1; ++p) {
    float* to = c + (p - p0) * b.width;
    const char* panel;
    // After the last panel comes the first one's next block.
    const bool last = p + 1 == p1, more = !last || k0 + depth < b.k;
    const int64_t next = last ? p0 : p + 1, next_k = last ? k0 + depth : k0;
    Lines lines;
    if (b.decoder != nullptr) {
      // At the end of the scratch: float16 can be widened from there to its start.
      char* block = reinterpret_cast<char*>(panel_scratch + depth * b.width) - bytes;
      b.decoder->Decode(p, k0, depth, block);
      panel = block;
      if (more) lines = b.decoder->Read(next, next_k, std::min(depth, b.k - next_k));
    } else {
      panel = b.panel(p) + k0 * b.width * size;
      if (more) lines = {b.panel(next) + next_k * b.width * size, bytes, bytes, 1};
    }
    Ahead ahead(lines, std::max<int64_t>(tiling.count, 1));
    const bool narrow = b.n - p * b.width <= b.width / 2;
    if (b.dtype == DType::kF32) {
      Panel(tiles, tiling, 0, reinterpret_cast<const float*>(panel), depth, to, ldc, accumulate, narrow, ahead);
      continue;
    }
    const half* halves = reinterpret_cast<const half*>(panel);
    if (rows < 3 * kTileRows) {
      Panel(tiles, tiling, 0, halves, depth, to, ldc, accumulate, narrow, ahead);
    } else {  // widened once for many rows
      ahead.Fetch();
      WithRows(tiling.rows(0), [&](auto r) {
        Tile<decltype(r)::value, true>(tiles, halves, depth, to, ldc, accumulate, panel_scratch);
      });
      Panel(tiles, tiling, 1, static_cast<const float*>(panel_scratch), depth, to, ldc, accumulate, narrow, ahead);
    }
  }
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {
HWY_EXPORT(MultiplyFew);
HWY_EXPORT(MultiplyTiles);
HWY_EXPORT(PackRowsAsTile);
HWY_EXPORT(TileRowsHere);

int64_t TileRows() { return HWY_DYNAMIC_DISPATCH(TileRowsHere)(); }

namespace {

int64_t RoundUp(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

// Floats of a thread's tiles that are worth keeping: reading them again costs less than making them, also from the
// last-level cache.
constexpr int64_t kMostHeld = int64_t{1} << 20;

constexpr size_t kLine = 64;  // of the cache, which threads do not share

// Floats of the room in which some rows are widened: those of a tile, or few rows as long as they are.
int64_t FewFloats(bool thin, int64_t k) { return std::max(TileRows(), kThinRows) * ((thin ? std::max(k, kDepth) : kDepth) + 16); }

// Threads that work on one block of rows, and so make its tiles.
int64_t Holders(int64_t row_blocks, int64_t columns, int threads) {
  return std::min<int64_t>(columns, (threads + row_blocks - 1) / row_blocks);
}

}  // namespace

int64_t TilesFloats(int64_t rows, int64_t depth) { return RoundUp(rows, TileRows()) * depth + 16; }

void RowSource::Tile(int64_t m0, int64_t rows, int64_t k0, int64_t depth, float* to, float* few) const {
  int64_t ld = kDepth + 16;  // not a power of two: rows would share cache sets
  const float* from = Rows(m0, rows, k0, depth, few, ld);
  HWY_DYNAMIC_DISPATCH(PackRowsAsTile)(from, ld, rows, depth, to);
}

void MultiplyBlock(const float* a, int64_t lda, int64_t rows, int64_t depth, const Panels& b, int64_t k0, int64_t p0,
                   int64_t p1, float* c, int64_t ldc, bool accumulate, float* panel_scratch, float* tiles) {
  if (rows <= kThinRows) {
    HWY_DYNAMIC_DISPATCH(MultiplyFew)(a, lda, rows, depth, b, k0, p0, p1, c, ldc, accumulate, panel_scratch);
    return;
  }
  const Tiling tiling(rows, TileRows());
  for (int64_t t = 0; t < tiling.count; ++t) {
    HWY_DYNAMIC_DISPATCH(PackRowsAsTile)
    (a + tiling.first(t) * lda, lda, tiling.rows(t), depth, tiles + t * TileRows() * depth);
  }
  HWY_DYNAMIC_DISPATCH(MultiplyTiles)(tiles, rows, depth, b, k0, p0, p1, c, ldc, accumulate, panel_scratch);
}

GemmPlan PlanGemm(int64_t m, const Panels& b, int threads, bool may_hold) {
  // Blocks of rows of one size: one of A (rows × 256 floats, 144 kB) and one of C stay in the second-level cache.
  // More rows share a block of B that has to be decoded.
  const int64_t tile = TileRows(), most = kMostRows * (b.decoder == nullptr ? 1 : 2) / tile * tile;
  const int64_t count = std::max<int64_t>(b.panels(), 1);
  GemmPlan plan;
  plan.m = m;
  plan.row_blocks = std::max<int64_t>((m + most - 1) / most, 1);
  plan.rows = std::max<int64_t>((m + plan.row_blocks - 1) / plan.row_blocks, 1);
  plan.row_blocks = (m + plan.rows - 1) / plan.rows;
  plan.thin = m <= kThinRows;
  if (plan.thin && b.decoder != nullptr) b.decoder->Store();
  const int64_t rows = std::min(plan.rows, m);
  const bool can_hold = may_hold && !plan.thin && TilesFloats(rows, b.k) <= kMostHeld;
  // Costs in panels. The fewer a task has, the more evenly tasks are shared and the less is waited for the last one, but
  // the more often rows of A are made or, where a thread holds them, read again.
  const double making = plan.thin ? 0.16 : 0.8, reading = 0.1, waiting = plan.thin || threads == 1 ? 0 : 0.15;
  double least = 0;
  const int64_t step = plan.thin ? kThinPanels : 1, fewest = std::min(count, std::max<int64_t>(step, 2));
  for (int64_t panels = std::min<int64_t>(count, 16); panels >= fewest; panels -= step) {
    const int64_t columns = (count + panels - 1) / panels, tasks = std::max<int64_t>(columns * plan.row_blocks, 1);
    const int64_t rounds = (tasks + threads - 1) / threads, made = can_hold ? Holders(plan.row_blocks, columns, threads) : columns;
    const double rows_of_a = making * static_cast<double>(made) + reading * static_cast<double>(columns - made);
    const double cost = static_cast<double>(rounds * panels) + rows_of_a * static_cast<double>(plan.row_blocks) / threads +
                        waiting * static_cast<double>(panels);
    if (plan.panels == 0 || cost < 0.999 * least) plan.panels = panels, plan.column_blocks = columns, least = cost;
  }
  plan.holds = can_hold && plan.column_blocks > 1;
  const int64_t tiles = TilesFloats(rows, plan.holds ? std::max(b.k, kDepth) : kDepth);
  plan.scratch_per_thread = kLine + sizeof(float) * static_cast<size_t>(kDepth * b.width + FewFloats(plan.thin, b.k) + tiles +
                                                                       rows * plan.panels * b.width + 64);
  return plan;
}

void RunGemmTask(const GemmPlan& plan, int64_t index, char* scratch, int64_t* held, const RowSource& a,
                 const Panels& matrix, const Epilogue& epilogue, const Operands& operands, int64_t first_row, int64_t first_column) {
  const Panels& b = matrix.Now();
  const int64_t row_block = index / plan.column_blocks;
  const int64_t m0 = row_block * plan.rows, rows = std::min(plan.rows, plan.m - m0);
  const int64_t p0 = index % plan.column_blocks * plan.panels, p1 = std::min(p0 + plan.panels, b.panels());
  const int64_t ldc = plan.panels * b.width, tile = TileRows();
  float* panel = reinterpret_cast<float*>(scratch);
  float* few = panel + kDepth * b.width;
  float* c = few + FewFloats(plan.thin, b.k);
  float* tiles = c + std::min(plan.rows, plan.m) * ldc;
  if (plan.thin) {  // some panels after the others, so that the matrix is read in the order of memory
    int64_t ld = b.k + 16;
    const float* from = a.Rows(m0, rows, 0, b.k, few, ld);
    const int64_t step = b.decoder == nullptr ? kThinPanels : 1;
    for (int64_t p = p0; p < p1; p += step) {
      for (int64_t k0 = 0; k0 < b.k || k0 == 0; k0 += kDepth) {
        HWY_DYNAMIC_DISPATCH(MultiplyFew)(from + k0, ld, rows, std::min(kDepth, b.k - k0), b, k0, p,
                                          std::min(p + step, p1), c + (p - p0) * b.width, ldc, k0 > 0, panel);
      }
    }
  } else {
    const Tiling tiling(rows, tile);
    const bool made = plan.holds && *held == row_block;
    for (int64_t k0 = 0; k0 < b.k || k0 == 0; k0 += kDepth) {
      const int64_t depth = std::min(kDepth, b.k - k0);
      float* block = plan.holds ? tiles + RoundUp(rows, tile) * k0 : tiles;
      for (int64_t t = 0; t < tiling.count && !made; ++t) {
        a.Tile(m0 + tiling.first(t), tiling.rows(t), k0, depth, block + t * tile * depth, few);
      }
      HWY_DYNAMIC_DISPATCH(MultiplyTiles)(block, rows, depth, b, k0, p0, p1, c, ldc, k0 > 0, panel);
    }
    if (plan.holds) *held = row_block;
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

namespace {

// The tasks of a product, so that a thread goes on with the block of rows that it began, whose tiles it may hold. Then it
// begins another one, and at last it helps with those of others.
class Tasks {
 public:
  Tasks(const GemmPlan& plan, const Workspace& workspace) : plan_(plan), workspace_(workspace) {
    for (int thread = 0; thread < workspace.threads; ++thread) new (&Begun(thread)) std::atomic<uint64_t>(Word(0, Columns()));
  }

  // The next task of a thread, or -1.
  int64_t Take(int thread) {
    const int64_t own = TakeFrom(thread);
    if (own >= 0) return own;
    const int64_t row_block = next_.fetch_add(1, std::memory_order_relaxed);
    if (row_block < plan_.row_blocks) {
      Begun(thread).store(Word(row_block, 1), std::memory_order_relaxed);
      return row_block * plan_.column_blocks;
    }
    for (int i = 1; i < workspace_.threads; ++i) {
      const int64_t task = TakeFrom((thread + i) % workspace_.threads);
      if (task >= 0) return task;
    }
    return -1;
  }

 private:
  // Which block of rows a thread has begun, and how many blocks of its columns are taken.
  static uint64_t Word(int64_t row_block, uint64_t columns) { return static_cast<uint64_t>(row_block) << 32 | columns; }
  uint64_t Columns() const { return static_cast<uint64_t>(plan_.column_blocks); }
  std::atomic<uint64_t>& Begun(int thread) const {
    return *reinterpret_cast<std::atomic<uint64_t>*>(workspace_.scratch + (thread + 1) * plan_.scratch_per_thread - kLine);
  }
  int64_t TakeFrom(int thread) {
    std::atomic<uint64_t>& begun = Begun(thread);
    uint64_t word = begun.load(std::memory_order_relaxed);
    while ((word & ~uint32_t{0}) < Columns()) {
      if (begun.compare_exchange_weak(word, word + 1, std::memory_order_relaxed)) {
        return static_cast<int64_t>((word >> 32) * Columns() + (word & ~uint32_t{0}));
      }
    }
    return -1;
  }

  const GemmPlan& plan_;
  const Workspace& workspace_;
  std::atomic<int64_t> next_{0};
};

}  // namespace

void RunGemm(const GemmPlan& plan, const RowSource& a, const Panels& b, const Epilogue& epilogue,
             const Operands& operands, const Workspace& workspace, int64_t first_column) {
  Tasks tasks(plan, workspace);
  workspace.Parallel(std::min<int64_t>(workspace.threads, plan.tasks()), [&](int64_t, int thread) {
    int64_t held = -1;
    for (int64_t task; (task = tasks.Take(thread)) >= 0;) {
      RunGemmTask(plan, task, workspace.scratch + thread * plan.scratch_per_thread, &held, a, b, epilogue, operands, 0, first_column);
    }
  });
}

}  // namespace gristmill
#endif  // HWY_ONCE
