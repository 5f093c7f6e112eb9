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

// x·y - product, where `product` is x·y rounded: by a fused multiply-add, or from halves of 12 bits (Dekker, "A
// floating-point technique for extending the available precision", 1971) for |x|, |y| < 2¹¹⁵.
HWY_INLINE VF ProductError(VF x, VF y, VF product) {
#if HWY_NATIVE_FMA
  return hn::MulSub(x, y, product);
#else
  auto upper = [](VF v) {
    const VF scaled = hn::Mul(v, hn::Set(F32(), 4097.0f));
    return hn::Sub(scaled, hn::Sub(scaled, v));
  };
  const VF xh = upper(x), yh = upper(y), xl = hn::Sub(x, xh), yl = hn::Sub(y, yh);
  const VF error = hn::Add(hn::Add(hn::Sub(hn::Mul(xh, yh), product), hn::Mul(xh, yl)), hn::Mul(xl, yh));
  return hn::Add(error, hn::Mul(xl, yl));
#endif
}

// Polynomial in x, highest coefficient first.
template <size_t N>
HWY_INLINE VF Polynomial(VF x, const float (&coefficients)[N]) {
  const F32 d;
  VF p = hn::Set(d, coefficients[0]);
  for (size_t i = 1; i < N; ++i) p = hn::MulAdd(p, x, hn::Set(d, coefficients[i]));
  return p;
}

// e^x = fraction·first·second with the factors powers of two, so that products with it are rounded once where e^x alone
// would be subnormal. Cody and Waite's reduction to |r| ≤ ln2/2, the polynomial of Cephes' expf (Moshier). At most 2 ulp
// for -174 ≤ x ≤ 89; what is below counts as -174, what is above as 89.
struct Exponential {
  VF fraction, first, second;
};
HWY_INLINE Exponential ExpParts(VF x) {
  const F32 d;
  const VF clamped = hn::Min(hn::Max(x, hn::Set(d, -174.0f)), hn::Set(d, 89.0f));
  const VF n = hn::Round(hn::Mul(clamped, hn::Set(d, 1.44269504088896341f)));
  VF r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), clamped);
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  VF p = Polynomial(r, {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f,
                        5.0000001201e-1f});
  p = hn::MulAdd(hn::Mul(p, r), r, hn::Add(r, hn::Set(d, 1.0f)));
  const VI whole = hn::ConvertTo(I32(), n);  // from -251 on, so that each half is the exponent of a normal number
  const VI first = hn::ShiftRight<1>(whole);
  auto power = [](VI e) { return hn::BitCast(F32(), hn::ShiftLeft<23>(hn::Add(e, hn::Set(I32(), 127)))); };
  return {p, power(first), power(hn::Sub(whole, first))};
}

// m·e^x, also where e^x alone would be subnormal. At most 2 ulp where the result is normal.
HWY_INLINE VF MulExp(VF m, VF x) {
  const Exponential e = ExpParts(x);
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Mul(hn::Mul(hn::Mul(m, e.fraction), e.first), e.second));
}

// e^x; at most 2 ulp.
HWY_INLINE VF Exp(VF x) { return MulExp(hn::Set(F32(), 1.0f), x); }

// m·σ(x), for |m| up to 2²⁰ where x < -174: e^-|x| cannot overflow, and for negative x the quotient is e^x/(1 + e^x). At
// most 4 ulp.
HWY_INLINE VF MulSigmoid(VF m, VF x) {
  const F32 d;
  const Exponential e = ExpParts(hn::Neg(hn::Abs(x)));
  auto times = [&e](VF v) { return hn::Mul(hn::Mul(hn::Mul(v, e.fraction), e.first), e.second); };
  const VF one = hn::Set(d, 1.0f);
  const VF quotient = hn::Div(hn::IfThenElse(hn::Lt(x, hn::Zero(d)), times(m), m), hn::Add(one, times(one)));
  return hn::IfThenElse(hn::IsNaN(x), x, quotient);
}
HWY_INLINE VF Sigmoid(VF x) { return MulSigmoid(hn::Set(F32(), 1.0f), x); }
// The product with a function that is 0 at -∞ is NaN there, by its formula.
HWY_INLINE VF UnlessMinusInfinity(VF x, VF result) {
  return hn::IfThenElse(hn::Lt(x, hn::Set(F32(), -3.4028235e38f)), hn::Set(F32(), __builtin_nanf("")), result);
}
// A factor of a σ that has vanished, held back because that is never quite 0.
HWY_INLINE VF HeldBack(VF x) { return hn::Max(x, hn::Set(F32(), -1000.0f)); }
HWY_INLINE VF Silu(VF x) { return UnlessMinusInfinity(x, MulSigmoid(HeldBack(x), x)); }

// x·σ(1.702·x). At most 4 ulp: where x is negative, what rounding takes from 1.702·x is made good by a factor.
HWY_INLINE VF GeluSigmoid(VF x) {
  const F32 d;
  const VF one = hn::Set(d, 1.0f), c = hn::Set(d, 1.702f), held = HeldBack(x), product = hn::Mul(held, c);
  const VF low = hn::MulAdd(held, hn::Set(d, -2.1934509e-8f), ProductError(held, c, product));
  const VF factor = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Add(one, low), one);
  const VF result = MulSigmoid(hn::Mul(held, factor), product);
  return UnlessMinusInfinity(x, hn::IfThenElse(hn::IsNaN(x), x, result));
}

// tanh x. Below 0.625 the polynomial of Cephes' tanhf, else 1 - 2/(e^2|x| + 1). At most 2 ulp.
HWY_INLINE VF Tanh(VF x) {
  const F32 d;
  const VF a = hn::Abs(x), z = hn::Mul(x, x);
  const VF p = Polynomial(z, {-5.70498872745e-3f, 2.06390887954e-2f, -5.37397155531e-2f, 1.33314422036e-1f,
                              -3.33332819422e-1f});
  const VF small = hn::MulAdd(hn::Mul(p, z), x, x);
  const VF e = Exp(hn::Add(a, a));
  const VF large = hn::Sub(hn::Set(d, 1.0f), hn::Div(hn::Set(d, 2.0f), hn::Add(e, hn::Set(d, 1.0f))));
  return hn::IfThenElse(hn::Lt(a, hn::Set(d, 0.625f)), small,
                        hn::IfThenElse(hn::IsNaN(x), x, hn::CopySign(large, x)));
}

// erf x for |x| < 1: the polynomial of Cephes' erff in x². At most 3 ulp.
HWY_INLINE VF ErfSmall(VF x) {
  return hn::Mul(x, Polynomial(hn::Mul(x, x), {7.853861353153693e-5f, -8.010193625184903e-4f, 5.188327685732524e-3f,
                                               -2.685381193529856e-2f, 1.128358514861418e-1f, -3.761262582423300e-1f,
                                               1.128379165726710f}));
}

// erfc(a)·e^(a²) for a ≥ 1: the polynomials of Cephes' erfcf in 1/a².
HWY_INLINE VF ErfcScaled(VF a) {
  const F32 d;
  const VF q = hn::Div(hn::Set(d, 1.0f), a), y = hn::Mul(q, q);
  const VF near = Polynomial(y, {2.326819970068386e-2f, -1.387039388740657e-1f, 3.687424674597105e-1f,
                                 -5.824733027278666e-1f, 6.210004621745983e-1f, -4.944515323274145e-1f,
                                 3.404879937665872e-1f, -2.741127028184656e-1f, 5.638259427386472e-1f});
  const VF far = Polynomial(y, {-1.047766399936249e1f, 1.297719955372516e1f, -7.495518717768503f, 2.921019019210786f,
                                -1.015265279202700f, 4.218463358204948e-1f, -2.820767439740514e-1f,
                                5.641895067754075e-1f});
  return hn::Mul(q, hn::IfThenElse(hn::Lt(a, hn::Set(d, 2.0f)), near, far));
}

// erf x. At most 3 ulp.
HWY_INLINE VF Erf(VF x) {
  const F32 d;
  const VF one = hn::Set(d, 1.0f), a = hn::Abs(x);
  const VF bounded = hn::Min(hn::Max(a, one), hn::Set(d, 10.0f));
  const VF tail = MulExp(ErfcScaled(bounded), hn::Neg(hn::Mul(bounded, bounded)));
  const VF large = hn::CopySign(hn::Sub(one, tail), x);
  return hn::IfThenElse(hn::Lt(a, one), ErfSmall(x), hn::IfThenElse(hn::IsNaN(x), x, large));
}

// x·Φ(x). Where x < -√2 the product x/2·erfc(-x/√2) has no cancellation; the rounding of x² is made good by a factor.
// At most 6 ulp.
HWY_INLINE VF Gelu(VF x) {
  const F32 d;
  const VF one = hn::Set(d, 1.0f), h = hn::Mul(x, hn::Set(d, 0.5f));
  const VF a = hn::Mul(hn::Abs(x), hn::Set(d, 0.70710678118654752f));
  const VF bounded = hn::Min(hn::Max(a, one), hn::Set(d, 14.0f));
  const VF clipped = hn::Min(hn::Max(x, hn::Set(d, -20.0f)), hn::Set(d, 20.0f));
  const VF square = hn::Mul(clipped, clipped), lost = ProductError(clipped, clipped, square);
  const VF scaled = hn::Mul(ErfcScaled(bounded), hn::NegMulAdd(hn::Set(d, 0.5f), lost, one));
  const VF tail = MulExp(hn::Mul(h, scaled), hn::Mul(square, hn::Set(d, -0.5f)));  // x/2·erfc(|x|/√2)
  // 1 + erf(x/√2), its leading terms in twice the precision.
  const VF lead = hn::Mul(x, hn::Set(d, 7.978845835e-01f)), whole = hn::Add(one, lead);
  VF low = hn::MulAdd(x, hn::Set(d, -2.267034016e-08f), ProductError(x, hn::Set(d, 7.978845835e-01f), lead));
  low = hn::Add(low, hn::Sub(lead, hn::Sub(whole, one)));
  const VF z = hn::Mul(x, x);
  const VF rest = Polynomial(z, {8.677372846e-07f, -1.770019447e-05f, 2.292938556e-04f, -2.373564065e-03f, 1.994674894e-02f, -1.329807139e-01f});
  const VF middle = hn::Mul(h, hn::Add(whole, hn::MulAdd(hn::Mul(x, z), rest, low)));
  const VF outer = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(x, tail));
  const VF limit = hn::IfThenElse(hn::Gt(hn::Abs(x), hn::Set(d, 20.0f)), hn::Max(x, hn::Zero(d)), outer);
  return UnlessMinusInfinity(x, hn::IfThenElse(hn::IsNaN(x), x, hn::IfThenElse(hn::Lt(a, one), middle, limit)));
}

// m·σ(x) for float16 results: m/(1 + e^-x), with e^-x up to e^80 by one scaling and a minimax polynomial of
// degree 5 for |r| ≤ ln2/2 (relative error 8e-08). At most 8 ulp of float32 for x ≥ -80; what is below counts as -80, where σ is 2e-35.
HWY_INLINE VF MulSigmoidForHalf(VF m, VF x) {
  const F32 d;
  const VF y = hn::Min(hn::Max(hn::Neg(x), hn::Set(d, -80.0f)), hn::Set(d, 80.0f));
  const VF n = hn::Round(hn::Mul(y, hn::Set(d, 1.44269504088896341f)));
  VF r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), y);
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  const VF p = Polynomial(r, {8.297583236e-03f, 4.191587660e-02f, 1.666757837e-01f, 4.999889047e-01f, 9.999996901e-01f, 1.000000072e+00f});
  const VI bits = hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(I32(), n), hn::Set(I32(), 127)));
  const VF one = hn::Set(d, 1.0f), e = hn::Mul(p, hn::BitCast(d, bits));
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Div(m, hn::Add(one, e)));
}
HWY_INLINE VF SigmoidForHalf(VF x) { return MulSigmoidForHalf(hn::Set(F32(), 1.0f), x); }
HWY_INLINE VF SiluForHalf(VF x) {
  return UnlessMinusInfinity(x, MulSigmoidForHalf(HeldBack(x), x));
}

// x·Φ(x) for float16 results, at a third of the cost: x/2·erfc(|x|/√2) = x/2·t·Q(t)·e^(-x²/2) with t = 1/(1 + 0.26·|x|)
// and Q a minimax polynomial for |x| ≤ 13.6 (relative error 2.3e-8), taken from x where x is positive. At most 10 ulp of
// float32, where the result is normal.
HWY_INLINE VF GeluForHalf(VF x) {
  const F32 d;
  const VF one = hn::Set(d, 1.0f), clipped = hn::Min(hn::Max(x, hn::Set(d, -18.0f)), hn::Set(d, 18.0f));
  const VF square = hn::Mul(clipped, clipped), lost = ProductError(clipped, clipped, square);
  const VF t = hn::Div(one, hn::MulAdd(hn::Abs(clipped), hn::Set(d, 0.26f), one));
  const VF q = Polynomial(t, {0.061455048620700836f, -0.3078303337097168f, 0.5074942708015442f, -0.3070942163467407f,
                              0.32551831007003784f, 0.10049336403608322f, 0.20646651089191437f, 0.20597542822360992f,
                              0.20752160251140594f});
  // The rounding of x² is made good by a factor: e^(-lost/2).
  const VF h = hn::Mul(hn::Mul(clipped, t), hn::MulAdd(lost, hn::Set(d, -0.25f), hn::Set(d, 0.5f)));
  const Exponential e = ExpParts(hn::Mul(square, hn::Set(d, -0.5f)));
  const VF tail = hn::Mul(hn::Mul(hn::Mul(hn::Mul(h, q), e.fraction), e.first), e.second);
  return UnlessMinusInfinity(x, hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(x, tail)));
}

// x·σ(2u) with u = √(2/π)·(x + 0.044715·x³), which is x/2·(1 + tanh u) without cancellation. At most 4 ulp.
HWY_INLINE VF GeluTanh(VF x) {
  const F32 d;
  const VF clipped = hn::Min(hn::Max(x, hn::Set(d, -100.0f)), hn::Set(d, 100.0f));
  const VF one = hn::Set(d, 1.0f), constant = hn::Set(d, 1.595769167e+00f), cubic = hn::Set(d, 7.135481387e-02f);
  // In twice the precision: where the result is small, an error of 2u is one of its logarithm.
  const VF square = hn::Mul(clipped, clipped), lost = ProductError(clipped, clipped, square);
  const VF product = hn::Mul(square, cubic);
  VF low = hn::MulAdd(lost, cubic, ProductError(square, cubic, product));
  low = hn::MulAdd(square, hn::Set(d, 2.398832397e-09f), hn::Add(low, hn::Set(d, -4.534068032e-08f)));
  const VF sum = hn::Add(constant, product), back = hn::Sub(sum, constant);
  low = hn::Add(low, hn::Add(hn::Sub(product, back), hn::Sub(constant, hn::Sub(sum, back))));
  const VF twice = hn::Mul(clipped, sum);
  low = hn::MulAdd(clipped, low, ProductError(clipped, sum, twice));
  const VF factor = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Add(one, low), one);
  const VF near = MulSigmoid(hn::Mul(clipped, factor), twice);
  const VF limit = hn::IfThenElse(hn::Gt(hn::Abs(x), hn::Set(d, 50.0f)), hn::Max(x, hn::Zero(d)), near);
  return UnlessMinusInfinity(x, hn::IfThenElse(hn::IsNaN(x), x, limit));
}

GRISTMILL_SIMD_END
#endif  // per target
