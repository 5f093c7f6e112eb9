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

// Float16 to float32 and back to nearest even. Where the instruction set has no conversions they are done with integers:
// Highway's own substitute truncates and knows no infinities.
#if HWY_TARGET <= HWY_AVX2 || HWY_TARGET == HWY_NEON
HWY_INLINE VF LoadHalf(const half* p) { return hn::PromoteTo(F32(), hn::LoadU(F16(), p)); }
HWY_INLINE void StoreHalf(VF v, half* p) { hn::StoreU(hn::DemoteTo(F16(), v), F16(), p); }
HWY_INLINE VF RoundToHalf(VF v) { return hn::PromoteTo(F32(), hn::DemoteTo(F16(), v)); }
#else
using U16 = hn::Rebind<uint16_t, F32>;
using VU = hn::Vec<U32>;

HWY_INLINE VF FromHalfBits(VU bits) {
  const U32 u;
  const VU sign = hn::ShiftLeft<16>(hn::And(bits, hn::Set(u, 0x8000)));
  const VU fraction = hn::ShiftLeft<13>(hn::And(bits, hn::Set(u, 0x7fff)));
  // The exponents differ by 112; a product moves subnormal numbers as well.
  const VF finite = hn::Mul(hn::BitCast(F32(), fraction), hn::Set(F32(), 0x1p112f));
  const VU special = hn::Or(fraction, hn::Set(u, 0x7f800000));
  const VF large = hn::BitCast(F32(), hn::Set(u, 0x7c00u << 13));
  const VF magnitude = hn::IfThenElse(hn::Ge(hn::BitCast(F32(), fraction), large), hn::BitCast(F32(), special), finite);
  return hn::BitCast(F32(), hn::Or(hn::BitCast(u, magnitude), sign));
}

HWY_INLINE VU ToHalfBits(VF v) {
  const U32 u;
  const VF x = hn::Abs(v);
  const VU bits = hn::BitCast(u, x), sign = hn::Xor(hn::BitCast(u, v), bits);
  const VU odd = hn::And(hn::ShiftRight<13>(bits), hn::Set(u, 1));
  const VU normal = hn::ShiftRight<13>(hn::Add(hn::Add(bits, odd), hn::Set(u, 0xfffu - (112u << 23))));
  // The unit of 1/2 is that of subnormal float16 numbers: the sum rounds to it.
  const VF half_one = hn::Set(F32(), 0.5f);
  const VU subnormal = hn::Sub(hn::BitCast(u, hn::Add(x, half_one)), hn::BitCast(u, half_one));
  auto choose = [&u](auto mask, VU yes, VU no) { return hn::IfThenElse(hn::RebindMask(u, mask), yes, no); };
  VU result = choose(hn::Lt(x, hn::Set(F32(), 0x1p-14f)), subnormal, normal);
  result = choose(hn::Ge(x, hn::Set(F32(), 65520.0f)), hn::Set(u, 0x7c00), result);
  result = choose(hn::IsNaN(x), hn::Set(u, 0x7e00), result);
  return hn::Or(result, hn::ShiftRight<16>(sign));
}

HWY_INLINE VF LoadHalf(const half* p) {
  return FromHalfBits(hn::PromoteTo(U32(), hn::LoadU(U16(), reinterpret_cast<const uint16_t*>(p))));
}
HWY_INLINE void StoreHalf(VF v, half* p) {
  hn::StoreU(hn::DemoteTo(U16(), hn::BitCast(I32(), ToHalfBits(v))), U16(), reinterpret_cast<uint16_t*>(p));
}
HWY_INLINE VF RoundToHalf(VF v) { return FromHalfBits(ToHalfBits(v)); }
#endif

// Loads a vector of floats from float32 or float16 storage, aligned or not.
HWY_INLINE VF LoadF(const float* p) { return hn::LoadU(F32(), p); }
HWY_INLINE VF LoadF(const half* p) { return LoadHalf(p); }

// Stores, rounding to nearest even where the storage is float16.
HWY_INLINE void StoreF(VF v, float* p) { hn::StoreU(v, F32(), p); }
HWY_INLINE void StoreF(VF v, half* p) { StoreHalf(v, p); }

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
