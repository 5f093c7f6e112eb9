// Functions of float32 vectors. Each names its method and its largest error in units in the last place (ulp).
#include "simd/simd.h"

#if defined(GRISTMILL_SIMD_MATH_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GRISTMILL_SIMD_MATH_H_
#undef GRISTMILL_SIMD_MATH_H_
#else
#define GRISTMILL_SIMD_MATH_H_
#endif

GRISTMILL_SIMD_BEGIN

// Maximum and minimum where a NaN of x gives NaN; y is none. On x86 the second operand is what comes of a NaN.
HWY_INLINE VF MaxWith(VF x, VF y) {
#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
  return hn::Max(y, x);
#else
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Max(x, y));
#endif
}
HWY_INLINE VF MinWith(VF x, VF y) {
#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
  return hn::Min(y, x);
#else
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Min(x, y));
#endif
}

// max(x, 0); the sum makes +0 of -0, as NumPy's maximum does.
HWY_INLINE VF Relu(VF x, VF zero) { return hn::Add(MaxWith(x, zero), zero); }

// Maximum and minimum where a NaN on either side gives NaN, as NumPy's do.
HWY_INLINE VF MaxNaN(VF x, VF y) {
  const VF larger = hn::Max(x, y);
  return hn::IfThenElse(hn::IsNaN(x), x, hn::IfThenElse(hn::IsNaN(y), y, larger));
}
HWY_INLINE VF MinNaN(VF x, VF y) {
  const VF smaller = hn::Min(x, y);
  return hn::IfThenElse(hn::IsNaN(x), x, hn::IfThenElse(hn::IsNaN(y), y, smaller));
}

// Polynomial in x, a vector or several (simd/several.h); two coefficients or more, the highest first.
template <typename V, size_t N>
HWY_INLINE V Polynomial(V x, const float (&coefficients)[N]) {
  const F32 d;
  V p = MulAdd(x, hn::Set(d, coefficients[0]), hn::Set(d, coefficients[1]));
  for (size_t i = 2; i < N; ++i) p = MulAdd(p, x, hn::Set(d, coefficients[i]));
  return p;
}

// What x·y has lost by rounding to `product`: exact, by a fused multiply-add, or without one by Dekker's product of
// halves of 12 bits (Veltkamp's split by the bits).
HWY_INLINE VF ProductError(VF x, VF y, VF product) {
#if HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR
  auto upper = [](VF v) { return hn::BitCast(F32(), hn::And(hn::BitCast(I32(), v), hn::Set(I32(), -4096))); };
  const VF xh = upper(x), xl = hn::Sub(x, xh), yh = upper(y), yl = hn::Sub(y, yh);
  const VF first = hn::Sub(hn::Mul(xh, yh), product), second = hn::Add(first, hn::Mul(xh, yl));
  return hn::Add(hn::Add(second, hn::Mul(xl, yh)), hn::Mul(xl, yl));
#else
  return hn::MulSub(x, y, product);
#endif
}

// Whole numbers below 2^21 as integers: those of a sum with 1.5·2^23 are its lowest bits. Highway's own conversion also
// takes care of what is out of range, at six times the cost.
HWY_INLINE VI WholeOf(VF n) {
  const F32 d;
  return hn::Sub(hn::BitCast(I32(), hn::Add(n, hn::Set(d, 0x1.8p23f))), hn::BitCast(I32(), hn::Set(d, 0x1.8p23f)));
}

// m·p·2^n for p about 1: 2^n in two steps with m between them, so that nothing on the way overflows or vanishes. Below
// 2^-252 it is 0, which only matters beside an m above 2^103.
HWY_INLINE VF MulPower(VF m, VF p, VF n) {
  const VI whole = WholeOf(n), first = hn::ShiftRight<1>(whole);
  auto power = [](VI e) {
    const VI kept = hn::Max(e, hn::Set(I32(), -127));
    return hn::BitCast(F32(), hn::ShiftLeft<23>(hn::Add(kept, hn::Set(I32(), 127))));
  };
  return hn::Mul(hn::Mul(hn::Mul(p, power(first)), m), power(hn::Sub(whole, first)));
}

// x - n·ln2 by Cody and Waite's method: n times the first part is exact.
HWY_INLINE VF Remainder(VF x, VF n) {
  const F32 d;
  const VF r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), x);
  return hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
}

// (e^r - 1 - r)/r² for |r| ≤ ln2/2: the polynomial of Cephes' expf (Moshier).
HWY_INLINE VF ExpTail(VF r) {
  return Polynomial(r, {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f,
                        5.0000001201e-1f});
}
HWY_INLINE VF ExpOfRemainder(VF r) {
  return hn::MulAdd(hn::Mul(ExpTail(r), r), r, hn::Add(r, hn::Set(F32(), 1.0f)));
}

// m·e^x, also where e^x alone would be subnormal or too large: x = n·ln2 + r. At most 2 ulp where the result is normal.
HWY_INLINE VF MulExp(VF m, VF x) {
  const F32 d;
  const VF clamped = hn::Min(hn::Max(x, hn::Set(d, -250.0f)), hn::Set(d, 128.0f));
  const VF n = hn::Round(hn::Mul(clamped, hn::Set(d, 1.44269504088896341f)));
  const VF result = MulPower(m, ExpOfRemainder(Remainder(clamped, n)), n);
  return hn::IfThenElse(hn::IsNaN(x), x, result);
}

// e^x; at most 2 ulp.
HWY_INLINE VF Exp(VF x) { return MulExp(hn::Set(F32(), 1.0f), x); }

// m·σ(x), with m of any size: e^-|x| cannot overflow, and for negative x the quotient is e^x/(1 + e^x). At most 4 ulp.
HWY_INLINE VF MulSigmoid(VF m, VF x) {
  const F32 d;
  const VF least = hn::Neg(hn::Abs(x));
  const VF numerator = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), MulExp(m, least), m);
  return hn::Div(numerator, hn::Add(hn::Set(d, 1.0f), Exp(least)));
}
HWY_INLINE VF Sigmoid(VF x) { return MulSigmoid(hn::Set(F32(), 1.0f), x); }
// The product with a function that is 0 at -∞ is NaN there, by its formula.
HWY_INLINE VF UnlessMinusInfinity(VF x, VF result) {
  return hn::IfThenElse(hn::Lt(x, hn::Set(F32(), -3.4028235e38f)), hn::Set(F32(), __builtin_nanf("")), result);
}
// A factor of a σ that has vanished, held back because that is never quite 0. NaN stays NaN.
HWY_INLINE VF HeldBack(VF x) {
  const VF least = hn::Set(F32(), -1000.0f);
  return hn::IfThenElse(hn::Lt(x, least), least, x);
}
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
  const VF result = hn::IfThenElse(hn::Lt(a, hn::Set(d, 0.625f)), small, large);
  return hn::IfThenElse(hn::IsNaN(x), x, hn::CopySign(result, x));
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

// 2^x. The fraction, |r| ≤ ½, is exact; then as above. At most 2 ulp.
HWY_INLINE VF Exp2(VF x) {
  const F32 d;
  const VF clamped = hn::Min(hn::Max(x, hn::Set(d, -200.0f)), hn::Set(d, 200.0f));
  const VF n = hn::Round(clamped);
  const VF r = hn::Mul(hn::Sub(clamped, n), hn::Set(d, 6.93147180560e-1f));
  const VF result = MulPower(hn::Set(d, 1.0f), ExpOfRemainder(r), n);
  return hn::IfThenElse(hn::IsNaN(x), x, result);
}

// e^x - 1 for x ≤ 0: 2^n·(q + 1) - 1, where q = e^r - 1 has no cancellation. At most 2 ulp.
HWY_INLINE VF ExpLessOne(VF x) {
  const F32 d;
  const VF clamped = hn::Max(x, hn::Set(d, -20.0f));  // below it the result is -1
  const VF n = hn::Round(hn::Mul(clamped, hn::Set(d, 1.44269504088896341f)));
  const VF r = Remainder(clamped, n), one = hn::Set(d, 1.0f);
  const VF q = hn::MulAdd(hn::Mul(ExpTail(r), r), r, r), power = MulPower(one, one, n);
  return hn::IfThenElse(hn::IsNaN(x), x, hn::MulAdd(power, q, hn::Sub(power, one)));
}

// log(a + b) for a + b ≥ 0, also where the sum is so near to 1 that its rounding matters: Knuth's two-sum gives what was
// lost, and log(s + lost) = log s + lost/s. Then s = 2^e·m, m in [√½, √2), and the polynomial of Cephes' logf in m - 1.
// At most 2 ulp.
HWY_INLINE VF LogOfSum(VF a, VF b) {
  const F32 d;
  const VF one = hn::Set(d, 1.0f), infinity = hn::Set(d, __builtin_inff());
  const VF sum = hn::Add(a, b), back = hn::Sub(sum, a);
  const VF lost = hn::Add(hn::Sub(a, hn::Sub(sum, back)), hn::Sub(b, back));
  const auto tiny = hn::Lt(sum, hn::Set(d, 1.17549435e-38f));  // a subnormal has no exponent of its own
  const VI bits = hn::BitCast(I32(), hn::IfThenElse(tiny, hn::Mul(sum, hn::Set(d, 33554432.0f)), sum));
  // Counted from the bits of √½ on, the exponent and what remains of it.
  const VI from = hn::Sub(bits, hn::Set(I32(), 0x3f3504f3));
  VF e = hn::ConvertTo(d, hn::ShiftRight<23>(from));
  e = hn::IfThenElse(tiny, hn::Sub(e, hn::Set(d, 25.0f)), e);
  const VI rest = hn::And(from, hn::Set(I32(), 0x007fffff));
  const VF f = hn::Sub(hn::BitCast(d, hn::Add(rest, hn::Set(I32(), 0x3f3504f3))), one), z = hn::Mul(f, f);
  const VF p = Polynomial(f, {7.0376836292e-2f, -1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f,
                              1.4249322787e-1f, -1.6668057665e-1f, 2.0000714765e-1f, -2.4999993993e-1f,
                              3.3333331174e-1f});
  VF low = hn::MulAdd(e, hn::Set(d, -2.12194440e-4f), hn::Mul(hn::Mul(p, f), z));
  low = hn::MulAdd(z, hn::Set(d, -0.5f), hn::Add(low, hn::Div(lost, sum)));
  const VF result = hn::MulAdd(e, hn::Set(d, 0.693359375f), hn::Add(f, low));
  const VF outside = hn::IfThenElse(hn::Eq(sum, infinity), sum, hn::Set(d, __builtin_nanf("")));
  const auto inside = hn::And(hn::Gt(sum, hn::Zero(d)), hn::Lt(sum, infinity));
  return hn::IfThenElse(inside, result, hn::IfThenElse(hn::Eq(sum, hn::Zero(d)), hn::Neg(infinity), outside));
}

// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|). At most 3 ulp.
HWY_INLINE VF Softplus(VF x) {
  const F32 d;
  const VF rest = LogOfSum(hn::Set(d, 1.0f), Exp(hn::Neg(hn::Abs(x))));
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Add(hn::Max(x, hn::Zero(d)), rest));
}

// arctan x: a > tan(3π/8) is π/2 - arctan(1/a), a > tan(π/8) is π/4 + arctan((a - 1)/(a + 1)), and between the
// polynomial of Cephes' atanf. At most 3 ulp.
HWY_INLINE VF Atan(VF x) {
  const F32 d;
  const VF one = hn::Set(d, 1.0f), a = hn::Abs(x);
  const auto far = hn::Gt(a, hn::Set(d, 2.414213562373095f)), middle = hn::Gt(a, hn::Set(d, 0.4142135623730950f));
  const VF above = hn::IfThenElse(far, hn::Set(d, -1.0f), hn::Sub(a, one));
  const VF below = hn::IfThenElse(far, a, hn::Add(a, one));
  const VF t = hn::IfThenElse(middle, hn::Div(above, below), a), z = hn::Mul(t, t);
  const VF p = Polynomial(z, {8.05374449538e-2f, -1.38776856032e-1f, 1.99777106478e-1f, -3.33329491539e-1f});
  // π/2 and π/4 with what their float32 values lack.
  const VF offset = hn::IfThenElse(far, hn::Set(d, 1.57079637f), hn::IfThenElse(middle, hn::Set(d, 0.785398185f), hn::Zero(d)));
  const VF lacks = hn::IfThenElse(far, hn::Set(d, -4.37113883e-8f), hn::IfThenElse(middle, hn::Set(d, -2.18556941e-8f), hn::Zero(d)));
  const VF result = hn::Add(offset, hn::Add(t, hn::MulAdd(hn::Mul(p, z), t, lacks)));
  return hn::IfThenElse(hn::IsNaN(x), x, hn::CopySign(result, x));
}

// arcsin t - t for 0 ≤ t ≤ ½, with z = t²: the polynomial of Cephes' asinf.
HWY_INLINE VF AsinTail(VF t, VF z) {
  const VF p = Polynomial(z, {4.2163199048e-2f, 2.4181311049e-2f, 4.5470025998e-2f, 7.4953002686e-2f, 1.6666752422e-1f});
  return hn::Mul(hn::Mul(p, z), t);
}

// arcsin x: above ½, π/2 - 2·arcsin √((1 - a)/2). NaN outside [-1, 1]. At most 3 ulp.
HWY_INLINE VF Asin(VF x) {
  const F32 d;
  const VF half = hn::Set(d, 0.5f), a = hn::Abs(x);
  const auto near_one = hn::Gt(a, half);
  const VF z = hn::IfThenElse(near_one, hn::Mul(hn::Sub(hn::Set(d, 1.0f), a), half), hn::Mul(a, a));
  const VF t = hn::IfThenElse(near_one, hn::Sqrt(z), a), tail = AsinTail(t, z);
  const VF twice = hn::Add(t, hn::Add(tail, hn::Add(t, tail)));
  const VF folded = hn::Sub(hn::Set(d, 1.57079637f), hn::Add(twice, hn::Set(d, 4.37113883e-8f)));
  return hn::CopySign(hn::IfThenElse(near_one, folded, hn::Add(t, tail)), x);
}

// arccos x: 2·arcsin √((1 - x)/2) above ½, π less that of -x below -½, π/2 - arcsin x between. NaN outside [-1, 1]. At
// most 2 ulp.
HWY_INLINE VF Acos(VF x) {
  const F32 d;
  const VF half = hn::Set(d, 0.5f), a = hn::Abs(x);
  const auto near_one = hn::Gt(a, half);
  const VF z = hn::IfThenElse(near_one, hn::Mul(hn::Sub(hn::Set(d, 1.0f), a), half), hn::Mul(a, a));
  const VF t = hn::IfThenElse(near_one, hn::Sqrt(z), a), arcsine = hn::Add(t, AsinTail(t, z));
  const VF twice = hn::Add(arcsine, arcsine);
  const VF negative = hn::Sub(hn::Set(d, 3.14159274f), hn::Add(twice, hn::Set(d, 8.74227766e-8f)));
  const VF outer = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), negative, twice);
  const VF inner = hn::Sub(hn::Set(d, 1.57079637f), hn::Add(hn::CopySign(arcsine, x), hn::Set(d, 4.37113883e-8f)));
  return hn::IfThenElse(near_one, outer, inner);
}

// sinh x. Below 1 the polynomial of Cephes' sinhf, else e^a/2 - e^-a/2. At most 3 ulp.
HWY_INLINE VF Sinh(VF x) {
  const F32 d;
  const VF a = hn::Abs(x), z = hn::Mul(x, x);
  const VF p = Polynomial(z, {2.03721912945e-4f, 8.33028376239e-3f, 1.66667160211e-1f});
  const VF e = MulExp(hn::Set(d, 0.5f), a);
  const VF large = hn::CopySign(hn::Sub(e, hn::Div(hn::Set(d, 0.25f), e)), x);
  const VF result = hn::IfThenElse(hn::Lt(a, hn::Set(d, 1.0f)), hn::MulAdd(hn::Mul(p, z), x, x), large);
  return hn::IfThenElse(hn::IsNaN(x), x, result);
}

// cosh x = e^a/2 + e^-a/2. At most 3 ulp.
HWY_INLINE VF Cosh(VF x) {
  const F32 d;
  const VF e = MulExp(hn::Set(d, 0.5f), hn::Abs(x));
  return hn::Add(e, hn::Div(hn::Set(d, 0.25f), e));
}

// artanh x: below ½ the polynomial of Cephes' atanhf, else ½·log((1 + a)/(1 - a)). NaN outside [-1, 1]. At most 3 ulp.
HWY_INLINE VF Atanh(VF x) {
  const F32 d;
  const VF one = hn::Set(d, 1.0f), half = hn::Set(d, 0.5f), a = hn::Abs(x), z = hn::Mul(x, x);
  const VF p = Polynomial(z, {1.81740078349e-1f, 8.24370301058e-2f, 1.46691431730e-1f, 1.99782164500e-1f,
                              3.33337300303e-1f});
  const VF large = hn::Mul(half, LogOfSum(hn::Div(hn::Add(a, a), hn::Sub(one, a)), one));
  return hn::IfThenElse(hn::Lt(a, half), hn::MulAdd(hn::Mul(p, z), x, x), hn::CopySign(large, x));
}

GRISTMILL_SIMD_END
#endif  // per target
