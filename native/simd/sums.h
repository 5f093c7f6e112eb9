// Sums and extremes of runs of floats.
#include "simd/math.h"
#include "simd/several.h"

#if defined(GRISTMILL_SIMD_SUMS_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GRISTMILL_SIMD_SUMS_H_
#undef GRISTMILL_SIMD_SUMS_H_
#else
#define GRISTMILL_SIMD_SUMS_H_
#endif

GRISTMILL_SIMD_BEGIN

// Σ f(x). Four sums go side by side through blocks of 1024 elements, whose sums are added to each other: errors grow
// with 1024/(4·lanes) + n/1024, not with n.
template <typename F>
HWY_INLINE float SumOf(const float* x, size_t count, const F& f) {
  const F32 d;
  const size_t lanes = Lanes();
  VF total = hn::Zero(d);
  size_t i = 0;
  while (count - i >= 4 * lanes) {
    const size_t end = i + 4 * lanes * ((count - i < 1024 ? count - i : 1024) / (4 * lanes));
    VF s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
    for (; i < end; i += 4 * lanes) {
      s0 = hn::Add(s0, f(hn::LoadU(d, x + i)));
      s1 = hn::Add(s1, f(hn::LoadU(d, x + i + lanes)));
      s2 = hn::Add(s2, f(hn::LoadU(d, x + i + 2 * lanes)));
      s3 = hn::Add(s3, f(hn::LoadU(d, x + i + 3 * lanes)));
    }
    total = hn::Add(total, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)));
  }
  for (; i + lanes <= count; i += lanes) total = hn::Add(total, f(hn::LoadU(d, x + i)));
  float sum = hn::GetLane(hn::SumOfLanes(d, total));
  if (i < count) {
    HWY_ALIGN float rest[HWY_MAX_BYTES / 4] = {};
    hn::StoreU(f(LoadFirst(x + i, count - i)), d, rest);
    for (size_t j = 0; j < count - i; ++j) sum += rest[j];
  }
  return sum;
}

// What `pick` makes of a vector's elements, in all of them.
template <typename D, typename Pick>
HWY_INLINE auto PickOfLanes(D d, hn::Vec<D> v, const Pick& pick) {
  constexpr size_t kLanes = hn::MaxLanes(D());
  if constexpr (kLanes >= 2) v = pick(v, hn::Reverse2(d, v));
  if constexpr (kLanes >= 4) v = pick(v, hn::Reverse4(d, v));
  if constexpr (kLanes >= 8) v = pick(v, hn::Reverse8(d, v));
  if constexpr (kLanes >= 16) v = pick(v, hn::Reverse(d, v));
  return v;
}

// The greatest or least element by `pick`, which carries a NaN on; count > 0.
template <typename Pick>
HWY_INLINE float ExtremeOf(const float* x, size_t count, const Pick& pick) {
  const F32 d;
  const size_t lanes = Lanes();
  Several<4> best = Filled<4>(hn::Set(d, x[0]));
  size_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) best = Each(pick, best, LoadSeveral<4>(x + i));
  for (; i + lanes <= count; i += lanes) best.v[0] = pick(best.v[0], hn::LoadU(d, x + i));
  for (; i < count; ++i) best.v[1] = pick(best.v[1], hn::Set(d, x[i]));
  return hn::GetLane(PickOfLanes(d, pick(pick(best.v[0], best.v[1]), pick(best.v[2], best.v[3])), pick));
}

GRISTMILL_SIMD_END
#endif  // per target
