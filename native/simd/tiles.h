// Tiles: how micro-kernels of matrix products read their left operand.
#include "simd/simd.h"
#include "simd/transpose.h"

#if defined(GRISTMILL_SIMD_TILES_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GRISTMILL_SIMD_TILES_H_
#undef GRISTMILL_SIMD_TILES_H_
#else
#define GRISTMILL_SIMD_TILES_H_
#endif

GRISTMILL_SIMD_BEGIN

// A tile of rows × 2 vectors fills the registers: 6 of 16, or 14 of 32.
constexpr int kTileRows = HWY_TARGET <= HWY_AVX3 ? 14 : 6;

#if HWY_TARGET != HWY_SCALAR
using F32x4 = hn::FixedTag<float, 4>;

HWY_INLINE hn::Vec<F32x4> LoadFour(const float* p) { return hn::LoadU(F32x4(), p); }
#if HWY_TARGET <= HWY_AVX2 || HWY_TARGET == HWY_NEON
HWY_INLINE hn::Vec<F32x4> LoadFour(const half* p) {
  return hn::PromoteTo(F32x4(), hn::LoadU(hn::Rebind<half, F32x4>(), p));
}
#else  // whole vectors are four floats
HWY_INLINE hn::Vec<F32x4> LoadFour(const half* p) { return LoadHalf(p); }
#endif
#endif

HWY_INLINE float LoadOne(const float* p) { return *p; }
HWY_INLINE float LoadOne(const half* p) { return hn::GetLane(LoadFirst(p, 1)); }

#if HWY_TARGET <= HWY_AVX2
// Steps of float16 rows, eight at a time and not the last ones; returns how many. What a step writes behind its numbers, the
// next one overwrites.
HWY_INLINE int64_t PackSteps(const half* a, int64_t lda, int64_t rows, int64_t depth, const half* factors, float* to) {
  const hn::FixedTag<float, 8> d;
  auto widen = [&](hn::Vec<Bits16> v) { return hn::PromoteTo(d, hn::BitCast(hn::Rebind<half, decltype(d)>(), v)); };
  auto load = [](const half* from) { return hn::LoadU(Bits16(), reinterpret_cast<const uint16_t*>(from)); };
  HWY_ALIGN float factor[8];
  int64_t k = 0;
  for (; k + 8 < depth; k += 8) {
    if (factors != nullptr) hn::Store(widen(load(factors + k)), d, factor);
#pragma GCC unroll 2
    for (int g = (kTileRows - 1) / 8; g >= 0; --g) {  // backwards: what the second eight write too much begins a step
      hn::Vec<Bits16> row[8];
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {  // the last row stands for those that are not there
        row[i] = load(a + std::min<int64_t>(8 * g + i, rows - 1) * lda + k);
      }
      Transpose(row);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        auto step = widen(row[i]);
        if (factors != nullptr) step = hn::Mul(step, hn::Set(d, factor[i]));
        hn::StoreU(step, d, to + (k + i) * kTileRows + 8 * g);
      }
    }
  }
  return k;
}
#endif

#if HWY_TARGET == HWY_AVX2
// The same of float32 rows.
HWY_INLINE int64_t PackSteps(const float* a, int64_t lda, int64_t rows, int64_t depth, const float* factors, float* to) {
  const hn::FixedTag<float, 8> d;
  const hn::Half<decltype(d)> d4;
  const hn::Repartition<double, decltype(d)> pairs;
  auto two = [&](auto v) { return hn::BitCast(pairs, v); };
  int64_t k = 0;
  for (; k + 8 < depth; k += 8) {
    hn::Vec<decltype(d)> row[6];
#pragma GCC unroll 6
    for (int i = 0; i < 6; ++i) {
      row[i] = hn::LoadU(d, a + std::min<int64_t>(i, rows - 1) * lda + k);
      if (factors != nullptr) row[i] = hn::Mul(row[i], hn::LoadU(d, factors + k));
    }
    // Steps k and k + 4 next to each other: four of their numbers, and the other two with those of the next step.
    const auto low01 = two(hn::InterleaveLower(d, row[0], row[1])), low23 = two(hn::InterleaveLower(d, row[2], row[3]));
    const auto high01 = two(hn::InterleaveUpper(d, row[0], row[1])), high23 = two(hn::InterleaveUpper(d, row[2], row[3]));
    const auto low45 = two(hn::InterleaveLower(d, row[4], row[5])), high45 = two(hn::InterleaveUpper(d, row[4], row[5]));
    const hn::Vec<decltype(d)> four[4] = {
        hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23)), hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23)),
        hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23)), hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23))};
    const hn::Vec<decltype(d)> rest[4] = {
        hn::BitCast(d, low45), hn::BitCast(d, hn::InterleaveUpper(pairs, low45, low45)),
        hn::BitCast(d, high45), hn::BitCast(d, hn::InterleaveUpper(pairs, high45, high45))};
    float* at = to + k * kTileRows;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      hn::StoreU(hn::LowerHalf(d4, four[i]), d4, at + i * kTileRows);
      hn::StoreU(hn::LowerHalf(d4, rest[i]), d4, at + i * kTileRows + 4);
    }
    at += 4 * kTileRows;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      hn::StoreU(hn::UpperHalf(d4, four[i]), d4, at + i * kTileRows);
      hn::StoreU(hn::UpperHalf(d4, rest[i]), d4, at + i * kTileRows + 4);
    }
  }
  return k;
}
#endif

// Rows of a row-major block as a tile: at each step along the sum its kTileRows numbers stand one after the other, anything
// where there are fewer rows. So a micro-kernel reads one stream, whatever the pitch of the rows. Where `factors` are
// given, a step is multiplied by its factor. Writes up to 3 floats past the end.
template <typename T>
HWY_INLINE void PackTile(const T* HWY_RESTRICT a, int64_t lda, int64_t rows, int64_t depth, const T* factors,
                         float* HWY_RESTRICT to) {
  int64_t k = 0;
#if HWY_TARGET == HWY_AVX2
  k = PackSteps(a, lda, rows, depth, factors, to);
#elif HWY_TARGET < HWY_AVX2
  if constexpr (std::is_same_v<T, half>) k = PackSteps(a, lda, rows, depth, factors, to);
#endif
#if HWY_TARGET != HWY_SCALAR
  constexpr int kGroups = (kTileRows + 3) / 4;
  const F32x4 d;
  const hn::Repartition<double, F32x4> pairs;
  for (; k + 4 <= depth; k += 4) {
    hn::Vec<F32x4> columns[4][kGroups];
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) {  // 4 rows × 4 steps, transposed
      hn::Vec<F32x4> row[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) row[i] = 4 * g + i < rows ? LoadFour(a + (4 * g + i) * lda + k) : hn::Zero(d);
      if (factors != nullptr) {
        const auto factor = LoadFour(factors + k);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) row[i] = hn::Mul(row[i], factor);
      }
      const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, row[0], row[1]));
      const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, row[2], row[3]));
      const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, row[0], row[1]));
      const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, row[2], row[3]));
      columns[0][g] = hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23));
      columns[1][g] = hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23));
      columns[2][g] = hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23));
      columns[3][g] = hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23));
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {  // what a group writes too much, the next one overwrites
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) hn::StoreU(columns[i][g], d, to + (k + i) * kTileRows + 4 * g);
    }
  }
#endif
  for (; k < depth; ++k) {
    const float factor = factors == nullptr ? 1.0f : LoadOne(factors + k);
    for (int64_t i = 0; i < kTileRows; ++i) to[k * kTileRows + i] = i < rows ? LoadOne(a + i * lda + k) * factor : 0.0f;
  }
}

GRISTMILL_SIMD_END

#endif  // per target
