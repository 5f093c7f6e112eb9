// The only door to Highway: kernels include this file and nothing of Highway itself.
//
// A kernel file is compiled once for each instruction set. It starts with
//
//   #undef HWY_TARGET_INCLUDE
//   #define HWY_TARGET_INCLUDE "kernels/<family>/<file>.cc"
//   #include "simd/foreach_target.h"
//   #include "simd/simd.h"
//
// puts its code between GRISTMILL_SIMD_BEGIN and GRISTMILL_SIMD_END, and ends with an `#if HWY_ONCE` part that calls the
// chosen version through HWY_EXPORT and HWY_DYNAMIC_DISPATCH.

#include "hwy/highway.h"

// Per target on purpose: Highway's headers of this kind are included once for each.
#if defined(GRISTMILL_SIMD_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GRISTMILL_SIMD_H_
#undef GRISTMILL_SIMD_H_
#else
#define GRISTMILL_SIMD_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#undef GRISTMILL_SIMD_BEGIN
#undef GRISTMILL_SIMD_END
#define GRISTMILL_SIMD_BEGIN \
  HWY_BEFORE_NAMESPACE();    \
  namespace gristmill {      \
  namespace HWY_NAMESPACE {
#define GRISTMILL_SIMD_END \
  } /* HWY_NAMESPACE */    \
  } /* gristmill */        \
  HWY_AFTER_NAMESPACE();

GRISTMILL_SIMD_BEGIN
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using I32 = hn::RebindToSigned<F32>;
using U32 = hn::RebindToUnsigned<F32>;
using F16 = hn::Rebind<hwy::float16_t, F32>;
using VF = hn::Vec<F32>;
using VI = hn::Vec<I32>;

// Storage of a float16 element; arithmetic on it is always float32.
using half = hwy::float16_t;

HWY_INLINE size_t Lanes() { return hn::Lanes(F32()); }

// Loads a vector of floats from float32 or float16 storage, aligned or not.
HWY_INLINE VF LoadF(const float* p) { return hn::LoadU(F32(), p); }
HWY_INLINE VF LoadF(const half* p) { return hn::PromoteTo(F32(), hn::LoadU(F16(), p)); }

// Stores, rounding to nearest even where the storage is float16.
HWY_INLINE void StoreF(VF v, float* p) { hn::StoreU(v, F32(), p); }
HWY_INLINE void StoreF(VF v, half* p) { hn::StoreU(hn::DemoteTo(F16(), v), F16(), p); }

// The first `n` lanes, n < Lanes(); the others are zero.
template <typename T>
HWY_INLINE VF LoadFirst(const T* p, size_t n) {
  HWY_ALIGN T part[HWY_MAX_BYTES / 4] = {};
  memcpy(part, p, n * sizeof(T));
  return LoadF(part);
}
template <typename T>
HWY_INLINE void StoreFirst(VF v, T* p, size_t n) {
  HWY_ALIGN T part[HWY_MAX_BYTES / 4];
  StoreF(v, part);
  memcpy(p, part, n * sizeof(T));
}

// Rounds to float16's values and back.
HWY_INLINE VF RoundToHalf(VF v) { return hn::PromoteTo(F32(), hn::DemoteTo(F16(), v)); }

// Converts a run of any length.
template <typename From, typename To>
HWY_INLINE void ConvertRun(const From* from, To* to, size_t count) {
  const size_t lanes = Lanes();
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) StoreF(LoadF(from + i), to + i);
  if (i < count) StoreFirst(LoadFirst(from + i, count - i), to + i, count - i);
}
GRISTMILL_SIMD_END

#endif  // per target
