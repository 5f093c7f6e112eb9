// Functions of float32 arguments that are evaluated in vectors of float64 and rounded once: at most 0.51 ulp. For those
// whose reduction of the argument, or whose exponent, needs more digits than float32 has.
#include "simd/simd.h"

#if defined(GRISTMILL_SIMD_WIDE_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GRISTMILL_SIMD_WIDE_H_
#undef GRISTMILL_SIMD_WIDE_H_
#else
#define GRISTMILL_SIMD_WIDE_H_
#endif

GRISTMILL_SIMD_BEGIN

using F64 = hn::ScalableTag<double>;
using U64 = hn::RebindToUnsigned<F64>;
using Narrow = hn::Rebind<float, F64>;  // as many floats as a vector has doubles
using VD = hn::Vec<F64>;

HWY_INLINE VD LoadWide(const float* p) { return hn::PromoteTo(F64(), hn::LoadU(Narrow(), p)); }
HWY_INLINE void StoreNarrow(VD v, float* p) {
#if HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR  // where DemoteTo gives no infinities
  HWY_ALIGN double wide[HWY_MAX_BYTES / 8];
  hn::StoreU(v, F64(), wide);
  for (size_t i = 0; i < hn::Lanes(F64()); ++i) p[i] = static_cast<float>(wide[i]);
#else
  hn::StoreU(hn::DemoteTo(Narrow(), v), Narrow(), p);
#endif
}

template <size_t N>
HWY_INLINE VD WidePolynomial(VD x, const double (&coefficients)[N]) {
  const F64 d;
  VD p = hn::Set(d, coefficients[0]);
  for (size_t i = 1; i < N; ++i) p = hn::MulAdd(p, x, hn::Set(d, coefficients[i]));
  return p;
}

// Beyond it sin, cos and tan go to the C library: reductions of larger arguments need more digits of π.
constexpr double kLargestAngle = 1e6;

struct SinCos {
  VD sin, cos;
};

// sin and cos of |x| ≤ kLargestAngle: x = n·π/2 + r, |r| ≤ π/4, by Cody and Waite's method with FDLIBM's parts of π/2
// (33 bits, so that n times it is exact, and the rest), then Taylor's series, whose first neglected terms are below
// 4e-13. No float32 up to there comes nearer to a multiple of π/2 than 1e-9, so r has 9 good digits at least.
HWY_INLINE SinCos WideSinCos(VD x) {
  const F64 d;
  const VD n = hn::Round(hn::Mul(x, hn::Set(d, 0.63661977236758134308)));
  VD r = hn::NegMulAdd(n, hn::Set(d, 1.57079632673412561417e+00), x);
  r = hn::NegMulAdd(n, hn::Set(d, 6.07710050650619224932e-11), r);
  const VD z = hn::Mul(r, r);
  const VD s = WidePolynomial(z, {-1.0 / 39916800, 1.0 / 362880, -1.0 / 5040, 1.0 / 120, -1.0 / 6});
  const VD c = WidePolynomial(z, {1.0 / 479001600, -1.0 / 3628800, 1.0 / 40320, -1.0 / 720, 1.0 / 24, -0.5});
  const VD sine = hn::MulAdd(hn::Mul(s, z), r, r), cosine = hn::MulAdd(c, z, hn::Set(d, 1.0));
  // The quadrant n mod 4, each bit from what remains after halving.
  const VD half = hn::Mul(n, hn::Set(d, 0.5)), quarter = hn::Mul(n, hn::Set(d, 0.25));
  const auto odd = hn::Ne(half, hn::Floor(half));
  const VD place = hn::Sub(quarter, hn::Floor(quarter));  // 0, 1/4, 1/2, 3/4
  const auto sin_turns = hn::Ge(place, hn::Set(d, 0.5));
  const auto cos_turns = hn::And(hn::Gt(place, hn::Zero(d)), hn::Lt(place, hn::Set(d, 0.75)));
  const VD sin_x = hn::IfThenElse(odd, cosine, sine), cos_x = hn::IfThenElse(odd, sine, cosine);
  const VD turned = hn::IfThenElse(sin_turns, hn::Neg(sin_x), sin_x);
  return {hn::IfThenElse(hn::Eq(x, hn::Zero(d)), x, turned),  // -0 stays
          hn::IfThenElse(cos_turns, hn::Neg(cos_x), cos_x)};
}

// log₂ x for finite x > 0: x = 2^e·m with m in [√½, √2), log m = 2·artanh(s) with s = (m - 1)/(m + 1), the series of
// which ends below 1e-15.
HWY_INLINE VD WideLog2(VD x) {
  const F64 d;
  const U64 u;
  const VD one = hn::Set(d, 1.0);
  const auto bits = hn::BitCast(u, x);
  // An integer below 2⁵² becomes a float64 as the last digits of 2⁵².
  const VD whole = hn::BitCast(d, hn::Or(hn::ShiftRight<52>(bits), hn::Set(u, uint64_t{0x4330000000000000})));
  const auto fraction = hn::And(bits, hn::Set(u, uint64_t{0x000fffffffffffff}));
  VD m = hn::BitCast(d, hn::Or(fraction, hn::BitCast(u, one)));
  VD e = hn::Sub(whole, hn::Set(d, 4503599627370496.0 + 1023));
  const auto upper = hn::Gt(m, hn::Set(d, 1.4142135623730951));
  m = hn::IfThenElse(upper, hn::Mul(m, hn::Set(d, 0.5)), m);
  e = hn::IfThenElse(upper, hn::Add(e, one), e);
  const VD s = hn::Div(hn::Sub(m, one), hn::Add(m, one)), z = hn::Mul(s, s);
  const VD p = WidePolynomial(z, {1.0 / 17, 1.0 / 15, 1.0 / 13, 1.0 / 11, 1.0 / 9, 1.0 / 7, 1.0 / 5, 1.0 / 3, 1.0});
  return hn::MulAdd(hn::Mul(s, p), hn::Set(d, 2.88539008177792681472), e);
}

// 2^t, |t| held below 1000: e^(r·ln2) by Taylor's series for the fraction r, |r| ≤ ½, whose first neglected term is
// below 7e-12, times 2^n.
HWY_INLINE VD WideExp2(VD t) {
  const F64 d;
  const U64 u;
  t = hn::Min(hn::Max(t, hn::Set(d, -1000.0)), hn::Set(d, 1000.0));
  const VD n = hn::Round(t), r = hn::Mul(hn::Sub(t, n), hn::Set(d, 0.69314718055994530942));
  const VD p = WidePolynomial(r, {1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0});
  // The last digits of 1.5·2⁵² + n + 1023 are the exponent's bits.
  const auto exponent = hn::BitCast(u, hn::Add(n, hn::Set(d, 6755399441055744.0 + 1023)));
  return hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<52>(exponent)));
}

// x^y = 2^(y·log₂|x|), and the rest of C's rules: 1 where y is 0 or x is 1, whatever the other is; -1 to ±∞ is 1;
// negative x have odd powers that are negative, and no power where y is not whole.
HWY_INLINE VD WidePow(VD x, VD y) {
  const F64 d;
  const VD zero = hn::Zero(d), one = hn::Set(d, 1.0), infinity = hn::Set(d, __builtin_inf());
  const VD a = hn::Abs(x);
  VD log = WideLog2(a);
  log = hn::IfThenElse(hn::Eq(a, zero), hn::Neg(infinity), hn::IfThenElse(hn::Eq(a, infinity), infinity, log));
  const VD t = hn::Mul(y, log);
  VD result = WideExp2(t);
  result = hn::IfThenElse(hn::Eq(a, one), one, result);
  const VD half = hn::Mul(y, hn::Set(d, 0.5));
  const auto is_whole = hn::Eq(hn::Floor(y), y), is_odd = hn::And(is_whole, hn::Ne(hn::Floor(half), half));
  const VD nan = hn::Set(d, __builtin_nan(""));
  const VD signed_result = hn::IfThenElse(is_odd, hn::CopySign(result, x), result);
  const auto no_power = hn::And(hn::And(hn::Lt(x, zero), hn::Gt(x, hn::Neg(infinity))), hn::Not(is_whole));
  result = hn::IfThenElse(no_power, nan, signed_result);
  result = hn::IfThenElse(hn::Or(hn::IsNaN(x), hn::IsNaN(y)), nan, result);
  return hn::IfThenElse(hn::Or(hn::Eq(y, zero), hn::Eq(x, one)), one, result);
}

GRISTMILL_SIMD_END
#endif  // per target
