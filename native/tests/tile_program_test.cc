// Steps of tile programs and the vector functions behind them, against the C library in double precision.
#include <limits>

#include "support.h"

namespace gristmill::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// One step on up to a tile of values.
void Step(TileStep step, const float* x, const float* y, float* to, size_t count) {
  static TileRegisters registers;
  std::memcpy(registers.storage[0], x, count * 4);
  std::memcpy(registers.storage[1], y, count * 4);
  for (size_t r = 0; r < kMaxRegisters; ++r) registers.value[r] = registers.storage[r];
  step.to = 2, step.x = 0, step.y = 1, step.z = 1;
  const auto program = std::static_pointer_cast<TileProgram>(Program(2, 3, {step}, {2}));
  RunTile(*program, registers.value, count);
  std::memcpy(to, registers.storage[2], count * 4);
}

std::vector<float> Step(TileStep step, const std::vector<float>& x, const std::vector<float>& y) {
  std::vector<float> result(x.size());
  for (size_t i = 0; i < x.size(); i += kTile) Step(step, &x[i], &y[i], &result[i], std::min(kTile, x.size() - i));
  return result;
}

// Floats of every magnitude, by their bits, and many near one.
std::vector<float> Samples() {
  std::vector<float> samples;
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 24007) {
    const uint32_t narrow = static_cast<uint32_t>(bits);
    float value;
    std::memcpy(&value, &narrow, 4);
    samples.push_back(value);
  }
  for (double x = -110; x < 110; x += 0.00417) samples.push_back(static_cast<float>(x));
  for (double x : {0.0, -0.0, kInfinity, -kInfinity, std::nan("")}) samples.push_back(static_cast<float>(x));
  return samples;
}

struct Function {
  TileOp op;
  std::string name;
  double bound;  // in ulp, as simd/math.h and tile_program.cc state it for normal results
  double (*exact)(double);
  double least = 0;  // below it the bound is one of this number's ulps
};

double Sigmoid(double x) { return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x)); }

const std::vector<Function>& Functions() {
  static const std::vector<Function> functions = {
      {TileOp::kExp, "Exp", 2, [](double x) { return std::exp(x); }},
      {TileOp::kTanh, "Tanh", 2, [](double x) { return std::tanh(x); }},
      {TileOp::kSigmoid, "Sigmoid", 4, Sigmoid},
      {TileOp::kSilu, "Silu", 4, [](double x) { return x * Sigmoid(x); }},
      {TileOp::kGeluSigmoid, "GeluSigmoid", 4, [](double x) { return x * Sigmoid(1.702 * x); }},
      {TileOp::kErf, "Erf", 3, [](double x) { return std::erf(x); }},
      {TileOp::kGelu, "Gelu", 6, [](double x) { return x / 2 * std::erfc(-x / std::sqrt(2.0)); }},
      {TileOp::kGeluTanh, "GeluTanh", 4,
       [](double x) { return x * Sigmoid(2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)); }},
      // For float16 results: in ulp of float32 where float16 has normal numbers.
      {TileOp::kSigmoidForHalf, "SigmoidForHalf", 340, Sigmoid, 1e-5},
      {TileOp::kSiluForHalf, "SiluForHalf", 340, [](double x) { return x * Sigmoid(x); }, 1e-5},
      {TileOp::kGeluForHalf, "GeluForHalf", 340, [](double x) { return x / 2 * std::erfc(-x / std::sqrt(2.0)); }, 1e-5},
      {TileOp::kSqrt, "Sqrt", 0.5, [](double x) { return std::sqrt(x); }},
      {TileOp::kLog, "Log", 2, [](double x) { return std::log(x); }},
      {TileOp::kExp2, "Exp2", 2, [](double x) { return std::exp2(x); }},
      {TileOp::kSin, "Sin", 0.51, [](double x) { return std::sin(x); }},
      {TileOp::kCos, "Cos", 0.51, [](double x) { return std::cos(x); }},
      {TileOp::kTan, "Tan", 0.51, [](double x) { return std::tan(x); }},
      {TileOp::kAsin, "Asin", 3, [](double x) { return std::asin(x); }},
      {TileOp::kAcos, "Acos", 2, [](double x) { return std::acos(x); }},
      {TileOp::kAtan, "Atan", 3, [](double x) { return std::atan(x); }},
      {TileOp::kSinh, "Sinh", 3, [](double x) { return std::sinh(x); }},
      {TileOp::kCosh, "Cosh", 3, [](double x) { return std::cosh(x); }},
      {TileOp::kAtanh, "Atanh", 3, [](double x) { return std::atanh(x); }},
      {TileOp::kSoftplus, "Softplus", 3,
       [](double x) { return std::isnan(x) ? x : std::fmax(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }},
      {TileOp::kFloor, "Floor", 0, [](double x) { return std::floor(x); }},
      {TileOp::kCeil, "Ceil", 0, [](double x) { return std::ceil(x); }},
      {TileOp::kRound, "Round", 0, [](double x) { return std::nearbyint(x); }},
      {TileOp::kAbs, "Abs", 0, [](double x) { return std::fabs(x); }},
      {TileOp::kRelu, "Relu", 0, [](double x) { return std::isnan(x) ? x : std::fmax(x, 0.0); }},
      {TileOp::kSquare, "Square", 0.5, [](double x) { return x * x; }},
  };
  return functions;
}

}  // namespace

TEST_CASE("functions keep their stated error over all floats") {
  const std::vector<float> x = Samples();
  for (const Function& f : Functions()) {
    const std::vector<float> got = Step({f.op}, x, x);
    double worst = 0, at = 0;
    int special = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = f.exact(static_cast<double>(x[i]));
      const float nearest = static_cast<float>(exact);
      if (!std::isfinite(nearest) || !std::isfinite(got[i])) {
        // An overflow may come one value early or late; anything else is the same.
        const bool edge = std::fabs(exact) > 3.4028e38 && std::fabs(static_cast<double>(got[i])) > 3.4028e38;
        special += !(std::isnan(nearest) ? std::isnan(got[i]) : got[i] == nearest || edge);
        continue;
      }
      const double error = std::fabs(got[i] - exact);
      // Below the normal numbers the bound is absolute.
      const double unit = 2 * Rounding(DType::kF32, std::max(f.least, std::fabs(exact)));
      if (error / unit > worst) worst = error / unit, at = x[i];
    }
    CHECK_MESSAGE(special == 0, f.name);
    CHECK_MESSAGE(worst <= f.bound, f.name << ": " << worst << " ulp at " << at);
  }
}

TEST_CASE("arithmetic of two floats is IEEE 754's") {
  std::vector<float> x = Samples(), y = x;
  std::shuffle(y.begin(), y.end(), std::mt19937(1));
  struct Arithmetic {
    TileOp op;
    float (*exact)(float, float);
  };
  for (const Arithmetic& a : std::initializer_list<Arithmetic>{
           {TileOp::kAdd, [](float u, float v) { return u + v; }},
           {TileOp::kSub, [](float u, float v) { return u - v; }},
           {TileOp::kMul, [](float u, float v) { return u * v; }},
           {TileOp::kDiv, [](float u, float v) { return u / v; }},
           {TileOp::kMax, [](float u, float v) { return u != u ? u : v != v ? v : std::max(u, v); }},
           {TileOp::kMin, [](float u, float v) { return u != u ? u : v != v ? v : std::min(u, v); }}}) {
    const std::vector<float> got = Step({a.op}, x, y);
    int64_t wrong = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const float exact = a.exact(x[i], y[i]);
      wrong += !(exact == got[i] || (exact != exact && got[i] != got[i]));
    }
    CHECK_MESSAGE(wrong == 0, "step " << static_cast<int>(a.op));
  }
}

TEST_CASE("integers are exact modulo 2^32") {
  std::mt19937 generator(2);
  std::vector<int32_t> x(5000), y(5000);
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<int32_t>(generator());
    y[i] = i % 3 ? static_cast<int32_t>(generator()) : x[i];
  }
  auto floats = [](const std::vector<int32_t>& v) {
    std::vector<float> bits(v.size());
    std::memcpy(bits.data(), v.data(), v.size() * 4);
    return bits;
  };
  struct Integer {
    TileOp op;
    int32_t (*exact)(uint32_t, uint32_t);
  };
  for (const Integer& a : std::initializer_list<Integer>{
           {TileOp::kAddInt, [](uint32_t u, uint32_t v) { return static_cast<int32_t>(u + v); }},
           {TileOp::kSubInt, [](uint32_t u, uint32_t v) { return static_cast<int32_t>(u - v); }},
           {TileOp::kMulInt, [](uint32_t u, uint32_t v) { return static_cast<int32_t>(u * v); }},
           {TileOp::kMaxInt, [](uint32_t u, uint32_t v) { return std::max(static_cast<int32_t>(u), static_cast<int32_t>(v)); }},
           {TileOp::kMinInt, [](uint32_t u, uint32_t v) { return std::min(static_cast<int32_t>(u), static_cast<int32_t>(v)); }},
           {TileOp::kEqualInt, [](uint32_t u, uint32_t v) { return int32_t{u == v}; }},
           {TileOp::kLessInt, [](uint32_t u, uint32_t v) { return int32_t{static_cast<int32_t>(u) < static_cast<int32_t>(v)}; }},
           {TileOp::kLessEqualInt, [](uint32_t u, uint32_t v) { return int32_t{static_cast<int32_t>(u) <= static_cast<int32_t>(v)}; }},
           {TileOp::kXor, [](uint32_t u, uint32_t v) { return static_cast<int32_t>(u ^ v); }}}) {
    const std::vector<float> got = Step({a.op}, floats(x), floats(y));
    int64_t wrong = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      int32_t bits;
      std::memcpy(&bits, &got[i], 4);
      wrong += bits != a.exact(static_cast<uint32_t>(x[i]), static_cast<uint32_t>(y[i]));
    }
    CHECK_MESSAGE(wrong == 0, "step " << static_cast<int>(a.op));
  }
}

TEST_CASE("float16 is read and rounded by its definition, every value of it") {
  // All 65536 values widen exactly, alone and in vectors; NaN stays NaN.
  std::vector<uint16_t> bits(65536);
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint16_t>(i);
  std::vector<float> wide(bits.size() + 16);
  for (size_t i = 0; i < bits.size(); i += kTile) LoadTile(DType::kF16, &bits[i], 1, &wide[i], kTile);
  int64_t wrong = 0;
  for (size_t i = 0; i < bits.size(); ++i) {
    const double exact = HalfToDouble(bits[i]);
    wrong += !(exact == wide[i] || (std::isnan(exact) && std::isnan(wide[i])));
  }
  CHECK(wrong == 0);
  // Floats between them: to nearest, ties to even, also below the normal numbers and where they overflow.
  std::vector<float> between;
  for (size_t i = 0; i < 65536; ++i) {
    const double value = HalfToDouble(static_cast<uint16_t>(i)), next = HalfToDouble(static_cast<uint16_t>(i + 1));
    if (!std::isfinite(value)) continue;
    const float middle = static_cast<float>(std::isfinite(next) ? (value + next) / 2 : std::copysign(65520.0, value));
    for (float x : {static_cast<float>(value), middle, std::nextafterf(middle, 1e9f), std::nextafterf(middle, -1e9f)}) {
      between.push_back(x);
    }
  }
  std::vector<uint16_t> rounded(between.size());
  for (size_t i = 0; i < between.size(); i += 37) {
    StoreTile(DType::kF16, &between[i], &rounded[i], std::min<size_t>(37, between.size() - i));
  }
  wrong = 0;
  for (size_t i = 0; i < between.size(); ++i) wrong += rounded[i] != HalfFromDouble(between[i]);
  CHECK(wrong == 0);
  const std::vector<float> back = Step({TileOp::kRoundHalf}, between, between);
  wrong = 0;
  for (size_t i = 0; i < between.size(); ++i) wrong += back[i] != HalfToDouble(HalfFromDouble(between[i]));
  CHECK(wrong == 0);
}

TEST_CASE("floats become integers towards zero, within the target's range") {
  const std::vector<float> x = {0.9f, -0.9f, 1e20f, -1e20f, std::nanf(""), 2147483648.0f, -2147483648.0f, 300.0f, -5.5f, 127.5f};
  struct Range {
    float low, high;
    std::vector<int32_t> wanted;
  };
  for (const Range& range : std::initializer_list<Range>{
           {-2147483648.0f, 2147483648.0f,
            {0, 0, 2147483647, -2147483647 - 1, 0, 2147483647, -2147483647 - 1, 300, -5, 127}},
           {-128.0f, 127.0f, {0, 0, 127, -128, 0, 127, -128, 127, -5, 127}},
           {0.0f, 255.0f, {0, 0, 255, 0, 0, 255, 0, 255, 0, 127}}}) {
    const std::vector<float> got = Step({TileOp::kFloatToInt, 0, 0, 0, 0, range.low, range.high}, x, x);
    std::vector<int32_t> bits(got.size());
    std::memcpy(bits.data(), got.data(), got.size() * 4);
    CHECK(bits == range.wanted);
  }
}

TEST_CASE("element-wise groups broadcast as NumPy does") {
  struct Shapes {
    Sizes x, y, result;
  };
  for (const Shapes& s : std::initializer_list<Shapes>{{{}, {}, {}},
                                                       {{5}, {}, {5}},
                                                       {{3, 1, 700}, {2, 700}, {3, 2, 700}},
                                                       {{4, 1, 6}, {1, 5, 1}, {4, 5, 6}},
                                                       {{1, 1}, {40, 33}, {40, 33}},
                                                       {{2, 3, 4, 5}, {3, 1, 5}, {2, 3, 4, 5}},
                                                       {{0, 3}, {3}, {0, 3}}}) {
    for (DType dtype : {DType::kF16, DType::kF32}) {
      const Array x = Random(dtype, s.x), y = Random(dtype, s.y);
      const Array got = Run1({"elementwise", {{"program", Program(2, 3, {{TileOp::kSub, 2, 0, 1}}, {2})}}, {}}, {x, y},
                             dtype, s.result);
      auto at = [&](const Array& a, int64_t flat) {
        int64_t place = 0, stride = 1;
        for (size_t axis = s.result.size(); axis-- > 0; flat /= s.result[axis]) {
          const size_t lacking = s.result.size() - a.shape.size();
          if (axis < lacking || a.shape[axis - lacking] == 1) continue;
          place += flat % s.result[axis] * stride;
          stride *= a.shape[axis - lacking];
        }
        return a[place];
      };
      for (int64_t i = 0; i < got.size(); ++i) {
        const double exact = at(x, i) - at(y, i);
        REQUIRE(std::fabs(got[i] - exact) <= Rounding(dtype, exact) * 1.001);  // rounded to float32 first
      }
    }
  }
}

TEST_CASE("programs and operands that do not fit are errors") {
  CHECK_THROWS_AS(Program(1, 33, {}, {0}), Error);
  CHECK_THROWS_AS(Program(2, 1, {}, {0}), Error);
  CHECK_THROWS_AS(Program(1, 2, {{TileOp::kAdd, 0, 0, 0}}, {0}), Error);  // writes an input
  CHECK_THROWS_AS(Program(1, 2, {{TileOp::kAdd, 2, 0, 0}}, {0}), Error);
  CHECK_THROWS_AS(Program(1, 2, {{TileOp::kAdd, 1, 7, 0}}, {0}), Error);
  CHECK_THROWS_AS(Program(1, 2, {}, {2}), Error);
  CHECK_THROWS_AS(Program(1, 2, {}, {-1}), Error);
  CHECK_THROWS_AS(TileOpByName("NoSuchStep"), Error);
  const Call copy{"elementwise", {{"program", Program(1, 1, {}, {0})}}, {}};
  CHECK_THROWS_AS(Run(copy, {Array(DType::kF32, {4})}, {Array(DType::kF32, {5})}), Error);
  CHECK_THROWS_AS(Run(copy, {Array(DType::kF32, {2, 4})}, {Array(DType::kF32, {4})}), Error);
  CHECK_THROWS_AS(Run(copy, {}, {Array(DType::kF32, {4})}), Error);
}

}  // namespace gristmill::test
