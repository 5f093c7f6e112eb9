// Products of few rows with a panel of float16 whose rows are made in registers.
#include "simd/simd.h"

#if defined(GRISTMILL_SIMD_FEW_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GRISTMILL_SIMD_FEW_H_
#undef GRISTMILL_SIMD_FEW_H_
#else
#define GRISTMILL_SIMD_FEW_H_
#endif

GRISTMILL_SIMD_BEGIN

#if HWY_TARGET == HWY_AVX2  // where a panel's row is 16 elements: as many as a shuffle of 16 bytes makes
using Line = hn::FixedTag<uint8_t, 16>;

// Eight elements of float16.
HWY_INLINE VF Widen(hn::Vec<Line> halves) { return hn::PromoteTo(F32(), hn::BitCast(F16(), halves)); }

// C[R, 16] (+)= A[R, depth]·rows, which row(b) makes one after the other. Sums go in the order of the steps, as in a tile.
template <int R, typename Row>
HWY_INLINE void MultiplyMade(const float* HWY_RESTRICT a, int64_t lda, int64_t depth, float* HWY_RESTRICT c, int64_t ldc,
                             bool accumulate, Row row) {
  const F32 d;
  VF sums[R][2];
  for (int r = 0; r < R; ++r) sums[r][0] = sums[r][1] = hn::Zero(d);
  for (int64_t k = 0; k < depth; ++k) {
    VF b[2];
    row(b);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const VF x = hn::Set(d, a[r * lda + k]);
      sums[r][0] = hn::MulAdd(x, b[0], sums[r][0]);
      sums[r][1] = hn::MulAdd(x, b[1], sums[r][1]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int i = 0; i < 2; ++i) {
      float* const to = c + r * ldc + 8 * i;
      hn::StoreU(accumulate ? hn::Add(sums[r][i], hn::LoadU(d, to)) : sums[r][i], d, to);
    }
  }
}

// The same of 1 to 4 rows. `start` makes what makes rows, once.
template <typename Start>
HWY_INLINE void MultiplyFewMade(const float* a, int64_t lda, int64_t rows, int64_t depth, float* c, int64_t ldc,
                                bool accumulate, const Start& start) {
  switch (rows) {
    case 1:
      return MultiplyMade<1>(a, lda, depth, c, ldc, accumulate, start());
    case 2:
      return MultiplyMade<2>(a, lda, depth, c, ldc, accumulate, start());
    case 3:
      return MultiplyMade<3>(a, lda, depth, c, ldc, accumulate, start());
    default:
      return MultiplyMade<4>(a, lda, depth, c, ldc, accumulate, start());
  }
}
#endif

GRISTMILL_SIMD_END

#endif  // per target
