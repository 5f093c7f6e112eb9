#include "kernels/elementwise/tile_program.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/elementwise/tile_program.cc"
#include "simd/foreach_target.h"
#include "simd/for_half.h"
#include "simd/wide.h"

GRISTMILL_SIMD_BEGIN

template <typename F>
HWY_INLINE void Map1(const TileStep& s, float* const* r, size_t count, const F& f) {
  MapRun(r[s.x], r[s.to], count, f);
}

template <typename F>
HWY_INLINE void Map2(const TileStep& s, float* const* r, size_t count, const F& f) {
  const float* x = r[s.x];
  const float* y = r[s.y];
  float* to = r[s.to];
  for (size_t i = 0; i < count; i += Lanes()) {
    hn::StoreU(f(hn::LoadU(F32(), x + i), hn::LoadU(F32(), y + i)), F32(), to + i);
  }
}

template <typename F>
HWY_INLINE void MapInt2(const TileStep& s, float* const* r, size_t count, const F& f) {
  Map2(s, r, count, [&f](VF x, VF y) {
    return hn::BitCast(F32(), f(hn::BitCast(I32(), x), hn::BitCast(I32(), y)));
  });
}

// Truth values as registers hold them: 0 and 1.
template <typename Mask>
HWY_INLINE VI Truth(Mask mask) {
  return hn::IfThenElseZero(hn::RebindMask(I32(), mask), hn::Set(I32(), 1));
}
template <typename F>
HWY_INLINE void Compare(const TileStep& s, float* const* r, size_t count, const F& f) {
  Map2(s, r, count, [&f](VF x, VF y) { return hn::BitCast(F32(), Truth(f(x, y))); });
}

// A function of angles, which the C library reduces where they are large or no numbers.
template <typename F>
HWY_INLINE void MapAngles(const TileStep& s, float* const* r, size_t count, const F& f, double (*exact)(double)) {
  const F64 d;
  const Narrow narrow;
  const auto most = hn::Set(narrow, static_cast<float>(kLargestAngle));
  for (size_t i = 0; i < count; i += hn::Lanes(d)) {
    const auto x = hn::LoadU(narrow, r[s.x] + i);
    const VD result = f(WideSinCos(hn::PromoteTo(d, x)));
    HWY_ALIGN float angles[HWY_MAX_BYTES / 8];
    hn::StoreU(x, narrow, angles);  // `to` may be the register that holds x
    StoreNarrow(result, r[s.to] + i);
    if (hn::AllTrue(narrow, hn::Le(hn::Abs(x), most))) continue;
    for (size_t j = 0; j < hn::Lanes(d) && i + j < count; ++j) {
      if (!(std::fabs(angles[j]) <= kLargestAngle)) {
        r[s.to][i + j] = static_cast<float>(exact(static_cast<double>(angles[j])));
      }
    }
  }
}

// Towards zero; what is out of range becomes the nearest integer and NaN becomes 0.
HWY_INLINE int32_t Truncated(float x, float low, float high) {
  if (x != x) return 0;
  if (x <= low) return static_cast<int32_t>(low);
  if (x >= high) return high >= 2147483648.0f ? 2147483647 : static_cast<int32_t>(high);
  return static_cast<int32_t>(x);
}

void RunStep(const TileStep& s, float* const* r, size_t count) {
  const F32 d;
  const VF p = hn::Set(d, s.p), q = hn::Set(d, s.q), zero = hn::Zero(d), one = hn::Set(d, 1.0f);
  switch (s.op) {
    case TileOp::kConstant:
    case TileOp::kConstantInt:
      for (size_t i = 0; i < count; i += Lanes()) hn::StoreU(p, d, r[s.to] + i);
      break;
    case TileOp::kRoundHalf:
      return Map1(s, r, count, [](VF x) { return RoundToHalf(x); });
    case TileOp::kAdd:
      return Map2(s, r, count, [](VF x, VF y) { return hn::Add(x, y); });
    case TileOp::kSub:
      return Map2(s, r, count, [](VF x, VF y) { return hn::Sub(x, y); });
    case TileOp::kMul:
      return Map2(s, r, count, [](VF x, VF y) { return hn::Mul(x, y); });
    case TileOp::kDiv:
      return Map2(s, r, count, [](VF x, VF y) { return hn::Div(x, y); });
    case TileOp::kMax:
      return Map2(s, r, count, [](VF x, VF y) { return MaxNaN(x, y); });
    case TileOp::kMin:
      return Map2(s, r, count, [](VF x, VF y) { return MinNaN(x, y); });
    case TileOp::kAddP:
      return Map1(s, r, count, [p](VF x) { return hn::Add(x, p); });
    case TileOp::kMulP:
      return Map1(s, r, count, [p](VF x) { return hn::Mul(x, p); });
    case TileOp::kMulAddPQ:
      return Map1(s, r, count, [p, q](VF x) { return hn::Add(hn::Mul(x, p), q); });
    case TileOp::kClip:
      return Map1(s, r, count, [p, q](VF x) { return MinNaN(MaxNaN(x, p), q); });
    case TileOp::kRelu:
      return Map1(s, r, count, [zero](VF x) { return Relu(x, zero); });
    case TileOp::kLeakyRelu:
      return Map1(s, r, count, [p, zero](VF x) { return hn::IfThenElse(hn::Lt(x, zero), hn::Mul(x, p), x); });
    case TileOp::kAbs:
      return Map1(s, r, count, [](VF x) { return hn::Abs(x); });
    case TileOp::kSquare:
      return Map1(s, r, count, [](VF x) { return hn::Mul(x, x); });
    case TileOp::kSqrt:
      return Map1(s, r, count, [](VF x) { return hn::Sqrt(x); });
    case TileOp::kRsqrt:
      return Map1(s, r, count, [one, p](VF x) { return hn::Div(one, hn::Sqrt(hn::Add(x, p))); });
    case TileOp::kInverse:
      return Map1(s, r, count, [one, p](VF x) { return hn::Div(one, hn::Add(x, p)); });
    case TileOp::kExp:
      return Map1(s, r, count, [](VF x) { return Exp(x); });
    case TileOp::kTanh:
      return Map1(s, r, count, [](VF x) { return Tanh(x); });
    case TileOp::kSigmoid:
      return Map1(s, r, count, [](VF x) { return Sigmoid(x); });
    case TileOp::kSilu:
      return Map1(s, r, count, [](VF x) { return Silu(x); });
    case TileOp::kGelu:
      return Map1(s, r, count, [](VF x) { return Gelu(x); });
    case TileOp::kSigmoidForHalf:
      return Map1(s, r, count, [](auto x) { return SigmoidForHalf(x); });
    case TileOp::kSiluForHalf:
      return Map1(s, r, count, [](auto x) { return SiluForHalf(x); });
    case TileOp::kGeluForHalf:
      return Map1(s, r, count, [](auto x) { return GeluForHalf(x); });
    case TileOp::kGeluTanh:
      return Map1(s, r, count, [](VF x) { return GeluTanh(x); });
    case TileOp::kGeluSigmoid:
      return Map1(s, r, count, [](VF x) { return GeluSigmoid(x); });
    case TileOp::kErf:
      return Map1(s, r, count, [](VF x) { return Erf(x); });
    case TileOp::kFloor:
      return Map1(s, r, count, [](VF x) { return hn::Floor(x); });
    case TileOp::kCeil:
      return Map1(s, r, count, [](VF x) { return hn::Ceil(x); });
    case TileOp::kRound:
      return Map1(s, r, count, [](VF x) { return hn::Round(x); });
    case TileOp::kSign:
      return Map1(s, r, count, [zero, one](VF x) {
        const VF unit = hn::IfThenElse(hn::Eq(x, zero), zero, hn::CopySign(one, x));  // -0 has none either
        return hn::IfThenElse(hn::IsNaN(x), x, unit);
      });
    case TileOp::kMaxP:
      return Map1(s, r, count, [p](VF x) { return MaxNaN(x, p); });
    case TileOp::kSelect:
      for (size_t i = 0; i < count; i += Lanes()) {
        const auto taken = hn::Ne(hn::BitCast(I32(), hn::LoadU(d, r[s.x] + i)), hn::Zero(I32()));
        hn::StoreU(hn::IfThenElse(hn::RebindMask(d, taken), hn::LoadU(d, r[s.y] + i), hn::LoadU(d, r[s.z] + i)), d,
                   r[s.to] + i);
      }
      return;
    case TileOp::kEqual:
      return Compare(s, r, count, [](VF x, VF y) { return hn::Eq(x, y); });
    case TileOp::kNotEqual:
      return Compare(s, r, count, [](VF x, VF y) { return hn::Not(hn::Eq(x, y)); });
    case TileOp::kLess:
      return Compare(s, r, count, [](VF x, VF y) { return hn::Lt(x, y); });
    case TileOp::kLessEqual:
      return Compare(s, r, count, [](VF x, VF y) { return hn::Le(x, y); });
    case TileOp::kAddInt:
      return MapInt2(s, r, count, [](VI x, VI y) { return hn::Add(x, y); });
    case TileOp::kSubInt:
      return MapInt2(s, r, count, [](VI x, VI y) { return hn::Sub(x, y); });
    case TileOp::kMulInt:
      return MapInt2(s, r, count, [](VI x, VI y) { return hn::Mul(x, y); });
    case TileOp::kMaxInt:
      return MapInt2(s, r, count, [](VI x, VI y) { return hn::Max(x, y); });
    case TileOp::kMinInt:
      return MapInt2(s, r, count, [](VI x, VI y) { return hn::Min(x, y); });
    case TileOp::kEqualInt:
      return MapInt2(s, r, count, [](VI x, VI y) { return Truth(hn::Eq(x, y)); });
    case TileOp::kNotEqualInt:
      return MapInt2(s, r, count, [](VI x, VI y) { return Truth(hn::Ne(x, y)); });
    case TileOp::kLessInt:
      return MapInt2(s, r, count, [](VI x, VI y) { return Truth(hn::Lt(x, y)); });
    case TileOp::kLessEqualInt:
      return MapInt2(s, r, count, [](VI x, VI y) { return hn::Xor(Truth(hn::Lt(y, x)), hn::Set(I32(), 1)); });
    case TileOp::kAnd:
      return MapInt2(s, r, count, [](VI x, VI y) { return hn::And(x, y); });
    case TileOp::kOr:
      return MapInt2(s, r, count, [](VI x, VI y) { return hn::Or(x, y); });
    case TileOp::kXor:
      return MapInt2(s, r, count, [](VI x, VI y) { return hn::Xor(x, y); });
    case TileOp::kNot:
      return Map1(s, r, count, [](VF x) {
        return hn::BitCast(F32(), hn::Xor(hn::BitCast(I32(), x), hn::Set(I32(), 1)));
      });
    case TileOp::kFloatToInt:
      for (size_t i = 0; i < count; ++i) {
        const int32_t whole = Truncated(r[s.x][i], s.p, s.q);
        memcpy(r[s.to] + i, &whole, 4);
      }
      return;
    case TileOp::kIntToFloat:
      return Map1(s, r, count, [d](VF x) { return hn::ConvertTo(d, hn::BitCast(I32(), x)); });
    case TileOp::kFloatToBool:
      return Map1(s, r, count, [d, zero](VF x) { return hn::BitCast(d, Truth(hn::Not(hn::Eq(x, zero)))); });
    case TileOp::kIntToBool:
      return Map1(s, r, count, [d](VF x) {
        return hn::BitCast(d, Truth(hn::Ne(hn::BitCast(I32(), x), hn::Zero(I32()))));
      });
    case TileOp::kLog:
      return Map1(s, r, count, [p](VF x) { return LogOfSum(x, p); });
    case TileOp::kPow:
      for (size_t i = 0; i < count; i += hn::Lanes(F64())) {
        StoreNarrow(WidePow(LoadWide(r[s.x] + i), LoadWide(r[s.y] + i)), r[s.to] + i);
      }
      return;
    case TileOp::kExp2:
      return Map1(s, r, count, [](VF x) { return Exp2(x); });
    case TileOp::kSin:
      return MapAngles(s, r, count, [](SinCos of) { return of.sin; }, [](double x) { return std::sin(x); });
    case TileOp::kCos:
      return MapAngles(s, r, count, [](SinCos of) { return of.cos; }, [](double x) { return std::cos(x); });
    case TileOp::kTan:
      return MapAngles(s, r, count, [](SinCos of) { return hn::Div(of.sin, of.cos); }, [](double x) { return std::tan(x); });
    case TileOp::kAsin:
      return Map1(s, r, count, [](VF x) { return Asin(x); });
    case TileOp::kAcos:
      return Map1(s, r, count, [](VF x) { return Acos(x); });
    case TileOp::kAtan:
      return Map1(s, r, count, [](VF x) { return Atan(x); });
    case TileOp::kSinh:
      return Map1(s, r, count, [](VF x) { return Sinh(x); });
    case TileOp::kCosh:
      return Map1(s, r, count, [](VF x) { return Cosh(x); });
    case TileOp::kAtanh:
      return Map1(s, r, count, [](VF x) { return Atanh(x); });
    case TileOp::kSoftplus:
      return Map1(s, r, count, [](VF x) { return Softplus(x); });
    case TileOp::kElu:
      return Map1(s, r, count, [p, zero](VF x) { return hn::IfThenElse(hn::Gt(x, zero), x, hn::Mul(p, ExpLessOne(x))); });
    case TileOp::kHardSigmoid:
      return Map1(s, r, count, [p, q, zero, one](VF x) {
        return MinWith(MaxWith(hn::Add(hn::Mul(x, p), q), zero), one);
      });
  }
}

void RunSteps(const TileProgram& program, float* const* registers, size_t count) {
  for (const TileStep& step : program.steps) RunStep(step, registers, count);
}

template <typename T>
void LoadFloats(const T* from, int64_t stride, float* to, size_t count) {
  if (stride == 1) return ConvertRun(from, to, count);
  for (size_t i = 0; i < count; ++i) {
    to[i] = hn::GetLane(LoadFirst(from + static_cast<int64_t>(i) * stride, 1));
  }
}

template <typename T>
void LoadIntegers(const T* from, int64_t stride, int32_t* to, size_t count) {
  for (size_t i = 0; i < count; ++i) to[i] = static_cast<int32_t>(from[static_cast<int64_t>(i) * stride]);
}

void Load(DType dtype, const void* from, int64_t stride, float* to, size_t count) {
  if (stride == 0 && count > 1) {
    Load(dtype, from, 1, to, 1);
    // The bits, whatever they stand for, since integers share the registers.
    int32_t bits;
    memcpy(&bits, to, 4);
    for (size_t i = 0; i < count; i += Lanes()) {
      hn::StoreU(hn::BitCast(F32(), hn::Set(I32(), bits)), F32(), to + i);
    }
    return;
  }
  int32_t* integers = reinterpret_cast<int32_t*>(to);
  switch (dtype) {
    case DType::kF32:
      return LoadFloats(static_cast<const float*>(from), stride, to, count);
    case DType::kF16:
      return LoadFloats(static_cast<const half*>(from), stride, to, count);
    case DType::kI32:
      return LoadIntegers(static_cast<const int32_t*>(from), stride, integers, count);
    case DType::kI16:
      return LoadIntegers(static_cast<const int16_t*>(from), stride, integers, count);
    case DType::kU16:
      return LoadIntegers(static_cast<const uint16_t*>(from), stride, integers, count);
    case DType::kI8:
      return LoadIntegers(static_cast<const int8_t*>(from), stride, integers, count);
    case DType::kU8:
    case DType::kBool:
      return LoadIntegers(static_cast<const uint8_t*>(from), stride, integers, count);
  }
}

template <typename T>
void StoreIntegers(const float* from, void* to, size_t count) {
  const int32_t* integers = reinterpret_cast<const int32_t*>(from);
  for (size_t i = 0; i < count; ++i) static_cast<T*>(to)[i] = static_cast<T>(integers[i]);
}

void Store(DType dtype, const float* from, void* to, size_t count) {
  switch (dtype) {
    case DType::kF32:
    case DType::kI32:
      if (from != to) memcpy(to, from, count * 4);
      return;
    case DType::kF16:
      return ConvertRun(from, static_cast<half*>(to), count);
    case DType::kI16:
    case DType::kU16:
      return StoreIntegers<uint16_t>(from, to, count);
    case DType::kI8:
    case DType::kU8:
    case DType::kBool:
      return StoreIntegers<uint8_t>(from, to, count);
  }
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {

HWY_EXPORT(RunSteps);
HWY_EXPORT(Load);
HWY_EXPORT(Store);

void LoadTile(DType dtype, const void* from, int64_t stride, float* to, size_t count) {
  HWY_DYNAMIC_DISPATCH(Load)(dtype, from, stride, to, count);
}
void StoreTile(DType dtype, const float* from, void* to, size_t count) {
  HWY_DYNAMIC_DISPATCH(Store)(dtype, from, to, count);
}
void RunTile(const TileProgram& program, float* const* registers, size_t count) {
  HWY_DYNAMIC_DISPATCH(RunSteps)(program, registers, count);
}

TileOp TileOpByName(const std::string& name) {
  static const auto* names = new std::map<std::string, TileOp>{
#define GRISTMILL_NAME(name) {#name, TileOp::k##name},
      GRISTMILL_TILE_OPS(GRISTMILL_NAME)
#undef GRISTMILL_NAME
  };
  const auto found = names->find(name);
  if (found == names->end()) throw Error("there is no tile step '" + name + "'");
  return found->second;
}

void TileProgram::Check() const {
  Require(inputs >= 0 && registers >= inputs && registers <= static_cast<int>(kMaxRegisters),
          "a tile program has at most 32 registers");
  for (const TileStep& step : steps) {
    Require(step.to >= inputs && step.to < registers, "a tile step writes no register of its own");
    Require(step.x < registers && step.y < registers && step.z < registers, "a tile step reads no register");
  }
  for (int output : outputs) Require(output >= 0 && output < registers, "a tile program returns no register");
}

}  // namespace gristmill
#endif  // HWY_ONCE
