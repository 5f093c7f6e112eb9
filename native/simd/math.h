// Functions of float32 vectors. Each names its method and its largest error in units in the last place (ulp).
#include "simd/simd.h"

#if defined(GRISTMILL_SIMD_MATH_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GRISTMILL_SIMD_MATH_H_
#undef GRISTMILL_SIMD_MATH_H_
#else
#define GRISTMILL_SIMD_MATH_H_
#endif

GRISTMILL_SIMD_BEGIN

// Maximum and minimum where a NaN on either side gives NaN, as NumPy's do.
HWY_INLINE VF MaxNaN(VF x, VF y) {
  const VF larger = hn::Max(x, y);
  return hn::IfThenElse(hn::IsNaN(x), x, hn::IfThenElse(hn::IsNaN(y), y, larger));
}
HWY_INLINE VF MinNaN(VF x, VF y) {
  const VF smaller = hn::Min(x, y);
  return hn::IfThenElse(hn::IsNaN(x), x, hn::IfThenElse(hn::IsNaN(y), y, smaller));
}

// e^x. Cody and Waite's reduction to |r| ≤ ln2/2, a polynomial of degree 6 in r, scaling by 2^n in two steps so that
// subnormal results come out right.
HWY_INLINE VF Exp(VF x) {
  const F32 d;
  const VF clamped = hn::Min(hn::Max(x, hn::Set(d, -104.0f)), hn::Set(d, 89.0f));
  const VF n = hn::Round(hn::Mul(clamped, hn::Set(d, 1.44269504088896341f)));
  VF r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), clamped);
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  VF p = hn::Set(d, 1.3981999507e-3f);
  p = hn::MulAdd(p, r, hn::Set(d, 8.3334519073e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 4.1665795894e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.6666665459e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.0000001201e-1f));
  p = hn::MulAdd(hn::Mul(p, r), r, hn::Add(r, hn::Set(d, 1.0f)));
  const VI whole = hn::ConvertTo(I32(), n);
  const VI half_of = hn::ShiftRight<1>(whole);
  auto power = [](VI e) { return hn::BitCast(F32(), hn::ShiftLeft<23>(hn::Add(e, hn::Set(I32(), 127)))); };
  const VF result = hn::Mul(hn::Mul(p, power(half_of)), power(hn::Sub(whole, half_of)));
  return hn::IfThenElse(hn::IsNaN(x), x, result);
}

HWY_INLINE VF Sigmoid(VF x) {
  const F32 d;
  // e^-|x| cannot overflow; for negative x the quotient is e^x/(1+e^x).
  const VF e = Exp(hn::Neg(hn::Abs(x)));
  const VF numerator = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), e, hn::Set(d, 1.0f));
  const VF result = hn::Div(numerator, hn::Add(hn::Set(d, 1.0f), e));
  return hn::IfThenElse(hn::IsNaN(x), x, result);
}

HWY_INLINE VF Tanh(VF x) {
  const F32 d;
  const VF e = Exp(hn::Mul(hn::Abs(x), hn::Set(d, -2.0f)));
  const VF large = hn::Div(hn::Sub(hn::Set(d, 1.0f), e), hn::Add(hn::Set(d, 1.0f), e));
  return hn::IfThenElse(hn::IsNaN(x), x, hn::CopySign(large, x));
}

HWY_INLINE VF Erf(VF x) {
  const F32 d;
  const VF a = hn::Abs(x);
  const VF t = hn::Div(hn::Set(d, 1.0f), hn::MulAdd(a, hn::Set(d, 0.3275911f), hn::Set(d, 1.0f)));
  VF p = hn::Set(d, 1.061405429f);
  p = hn::MulAdd(p, t, hn::Set(d, -1.453152027f));
  p = hn::MulAdd(p, t, hn::Set(d, 1.421413741f));
  p = hn::MulAdd(p, t, hn::Set(d, -0.284496736f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.254829592f));
  const VF tail = hn::Mul(hn::Mul(p, t), Exp(hn::Neg(hn::Mul(a, a))));
  return hn::CopySign(hn::Sub(hn::Set(d, 1.0f), tail), x);
}

HWY_INLINE VF Gelu(VF x) {
  const F32 d;
  const VF h = hn::Mul(x, hn::Set(d, 0.5f));
  return hn::MulAdd(h, Erf(hn::Mul(x, hn::Set(d, 0.70710678118654752f))), h);
}

HWY_INLINE VF GeluTanh(VF x) {
  const F32 d;
  const VF cube = hn::Mul(hn::Mul(x, x), x);
  const VF inner = hn::Mul(hn::MulAdd(cube, hn::Set(d, 0.044715f), x), hn::Set(d, 0.79788456080286536f));
  const VF h = hn::Mul(x, hn::Set(d, 0.5f));
  return hn::MulAdd(h, Tanh(inner), h);
}

GRISTMILL_SIMD_END
#endif  // per target
