// Transpositions of squares.
#include "simd/simd.h"

#if defined(GRISTMILL_SIMD_TRANSPOSE_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GRISTMILL_SIMD_TRANSPOSE_H_
#undef GRISTMILL_SIMD_TRANSPOSE_H_
#else
#define GRISTMILL_SIMD_TRANSPOSE_H_
#endif

GRISTMILL_SIMD_BEGIN

// to[i·pitch + j] = from[j·stride + i] for a square of one 128-bit vector's elements, by interleaving: pairs of rows,
// pairs of pairs, and so on.
#if HWY_TARGET == HWY_SCALAR
template <typename T>
void TransposeSquare(const T* from, int64_t stride, T* to, int64_t pitch) {
  constexpr int64_t kSide = 16 / sizeof(T);
  for (int64_t i = 0; i < kSide; ++i) {
    for (int64_t j = 0; j < kSide; ++j) to[i * pitch + j] = from[j * stride + i];
  }
}
#else
using Bits16 = hn::FixedTag<uint16_t, 8>;
using Bits32 = hn::FixedTag<uint32_t, 4>;

HWY_INLINE void TransposeSquare(const uint32_t* from, int64_t stride, uint32_t* to, int64_t pitch) {
  const Bits32 d;
  const hn::Repartition<uint64_t, Bits32> d2;
  auto twice = [&](auto v) { return hn::BitCast(d2, v); };
  const auto r0 = hn::LoadU(d, from), r1 = hn::LoadU(d, from + stride);
  const auto r2 = hn::LoadU(d, from + 2 * stride), r3 = hn::LoadU(d, from + 3 * stride);
  const auto a = twice(hn::InterleaveLower(d, r0, r1)), b = twice(hn::InterleaveUpper(d, r0, r1));
  const auto c = twice(hn::InterleaveLower(d, r2, r3)), e = twice(hn::InterleaveUpper(d, r2, r3));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d2, a, c)), d, to);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d2, a, c)), d, to + pitch);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d2, b, e)), d, to + 2 * pitch);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d2, b, e)), d, to + 3 * pitch);
}

// A row of eight float16 numbers, as they are or as float32.
HWY_INLINE void StoreEight(hn::Vec<Bits16> v, uint16_t* to) { hn::StoreU(v, Bits16(), to); }
#if HWY_TARGET <= HWY_AVX2
HWY_INLINE void StoreEight(hn::Vec<Bits16> v, float* to) {
  const hn::FixedTag<float, 8> d;
  hn::StoreU(hn::PromoteTo(d, hn::BitCast(hn::Rebind<half, decltype(d)>(), v)), d, to);
}
#endif

// Rows of a square of sixteen-bit elements become its columns.
HWY_INLINE void Transpose(hn::Vec<Bits16>* rows) {
  const Bits16 d;
  const hn::Repartition<uint32_t, Bits16> d2;
  const hn::Repartition<uint64_t, Bits16> d4;
  hn::Vec<decltype(d2)> pairs[8];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    pairs[i] = hn::BitCast(d2, hn::InterleaveLower(d, rows[2 * i], rows[2 * i + 1]));
    pairs[i + 4] = hn::BitCast(d2, hn::InterleaveUpper(d, rows[2 * i], rows[2 * i + 1]));
  }
#pragma GCC unroll 2
  for (int upper = 0; upper < 2; ++upper) {  // results 0 to 3, and 4 to 7
    const auto* p = pairs + 4 * upper;
    auto* out = rows + 4 * upper;
    auto four = [&](auto v) { return hn::BitCast(d4, v); };
    const auto a = four(hn::InterleaveLower(d2, p[0], p[1])), b = four(hn::InterleaveLower(d2, p[2], p[3]));
    const auto c = four(hn::InterleaveUpper(d2, p[0], p[1])), e = four(hn::InterleaveUpper(d2, p[2], p[3]));
    out[0] = hn::BitCast(d, hn::InterleaveLower(d4, a, b));
    out[1] = hn::BitCast(d, hn::InterleaveUpper(d4, a, b));
    out[2] = hn::BitCast(d, hn::InterleaveLower(d4, c, e));
    out[3] = hn::BitCast(d, hn::InterleaveUpper(d4, c, e));
  }
}

template <typename T>
HWY_INLINE void TransposeSquare(const uint16_t* from, int64_t stride, T* to, int64_t pitch) {
  hn::Vec<Bits16> rows[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) rows[i] = hn::LoadU(Bits16(), from + i * stride);
  Transpose(rows);
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) StoreEight(rows[i], to + i * pitch);
}

#endif  // HWY_SCALAR

// Rows of a matrix whose elements are `k_stride` and `n_stride` apart, in rows of `width`; columns beyond `columns` become
// zeros.
template <typename T>
void PackRows(const T* from, int64_t k_stride, int64_t n_stride, int64_t depth, int64_t columns, int64_t width, T* to) {
  constexpr int64_t kSide = 16 / sizeof(T);
  if (columns < width) std::fill(to, to + depth * width, T{0});
  if (n_stride == 1) {
    for (int64_t k = 0; k < depth; ++k) memcpy(to + k * width, from + k * k_stride, columns * sizeof(T));
    return;
  }
  int64_t k = 0;
  if (k_stride == 1 && columns % kSide == 0) {
    for (; k + kSide <= depth; k += kSide) {
      if (k % (64 / int64_t{sizeof(T)}) == 0) {
        for (int64_t j = 0; j < columns; ++j) __builtin_prefetch(from + j * n_stride + k + 512 / int64_t{sizeof(T)});
      }
      for (int64_t j = 0; j < columns; j += kSide) {
        TransposeSquare(from + j * n_stride + k, n_stride, to + k * width + j, width);
      }
    }
  }
  for (; k < depth; ++k) {
    for (int64_t j = 0; j < columns; ++j) to[k * width + j] = from[k * k_stride + j * n_stride];
  }
}

GRISTMILL_SIMD_END

#endif  // per target
