// Functions for results of float16: relative errors up to 2e-5, a twelfth of the half ulp (2⁻¹²) that rounding to float16
// may add, at a fraction of the cost. Results below 1e-9, which float16 has no number for, may be off by that much.
//
// They take a vector or several.
#include "simd/math.h"
#include "simd/several.h"

#if defined(GRISTMILL_SIMD_FOR_HALF_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GRISTMILL_SIMD_FOR_HALF_H_
#undef GRISTMILL_SIMD_FOR_HALF_H_
#else
#define GRISTMILL_SIMD_FOR_HALF_H_
#endif

GRISTMILL_SIMD_BEGIN

// 2^t: 2^n·2^f with a minimax polynomial of degree 4 for |f| ≤ 1/2 (relative error 2.9e-6), which is 1 at 0. So the least
// exponent gives 0 and the greatest infinity, both exactly: t below -127 and above 128.
template <typename V>
HWY_INLINE V Exp2ForHalf(V t) {
  const VF magic = Number(0x1.8p23f);
  const V held = Max(Min(t, Number(128.0f)), Number(-127.0f));
  const V sum = Add(held, magic), f = Sub(held, Sub(sum, magic));  // the nearest whole number is in the sum's lowest bits
  const V p = Polynomial(f, {9.582854807e-03f, 5.590642989e-02f, 2.402409911e-01f, 6.931241751e-01f, 1.0f});
  return Each([](VF x, VF n) {
    return hn::BitCast(F32(), hn::Add(hn::BitCast(I32(), x), hn::ShiftLeft<23>(hn::BitCast(I32(), n))));
  }, p, sum);
}

constexpr float kLog2OfE = 1.44269504088896341f;

// m·σ(x) = m/(1 + e^-x); m is NaN where x is.
template <typename M, typename V>
HWY_INLINE V MulSigmoidForHalf(M m, V x) {
  return Div(m, Add(Exp2ForHalf(Mul(x, Number(-kLog2OfE))), Number(1.0f)));
}
template <typename V>
HWY_INLINE V SigmoidForHalf(V x) {
  return Each([](VF of, VF result) { return hn::IfThenElse(hn::IsNaN(of), of, result); }, x,
              MulSigmoidForHalf(Number(1.0f), x));
}
template <typename V>
HWY_INLINE V SiluForHalf(V x) {
  return MulSigmoidForHalf(x, x);
}

// x·Φ(x): x/2·erfc(|x|/√2) = x·t·Q(t)·e^(-x²/2) with t = 1/(1 + 0.3·|x|) and Q a minimax polynomial for |x| ≤ 6.6
// (relative error 1.5e-6), taken from x where x is positive.
template <typename V>
HWY_INLINE V GeluForHalf(V x) {
  const VF one = Number(1.0f);
  const V clipped = Min(Max(x, Number(-12.9f)), Number(12.9f));
  const V t = Div(one, MulAdd(Abs(clipped), Number(0.3f), one));
  const V q = Polynomial(t, {-8.260580323e-02f, 2.329585594e-01f, -3.686173973e-02f, 1.553657867e-01f, 1.107685045e-01f, 1.203739206e-01f});
  const V e = Exp2ForHalf(Mul(Mul(clipped, clipped), Number(-0.5f * kLog2OfE)));
  const V tail = Mul(Mul(Mul(clipped, t), q), e);
  return Each([](VF of, VF small) {
    return UnlessMinusInfinity(of, hn::IfThenElse(hn::Lt(of, hn::Zero(F32())), small, hn::Sub(of, small)));
  }, x, tail);
}

GRISTMILL_SIMD_END
#endif  // per target
