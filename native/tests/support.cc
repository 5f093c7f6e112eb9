#include "support.h"

namespace gristmill::test {

double HalfToDouble(uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  double magnitude;
  if (exponent == 31) {
    magnitude = fraction == 0 ? HUGE_VAL : std::nan("");
  } else {
    magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  }
  return bits & 0x8000 ? -magnitude : magnitude;
}

uint16_t HalfFromDouble(double value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(value);
  if (std::isnan(value)) return 0x7e00;
  if (magnitude == 0) return sign;
  if (magnitude >= 65520) return sign | 0x7c00;  // halfway between the largest and what would come next
  int exponent;
  std::frexp(magnitude, &exponent);
  const int unit = std::max(exponent - 11, -24);
  // A fraction that rounds up to 2048 carries into the exponent by itself.
  const int fraction = static_cast<int>(std::nearbyint(std::ldexp(magnitude, -unit)));
  const int bits = unit == -24 ? fraction : (unit + 24) * 1024 + fraction;
  return sign | static_cast<uint16_t>(bits);
}

double Array::operator[](int64_t i) const {
  switch (dtype) {
    case DType::kF16:
      return HalfToDouble(as<uint16_t>()[i]);
    case DType::kF32:
      return as<float>()[i];
    case DType::kI32:
      return as<int32_t>()[i];
    case DType::kI16:
      return as<int16_t>()[i];
    case DType::kU16:
      return as<uint16_t>()[i];
    case DType::kI8:
      return as<int8_t>()[i];
    default:
      return as<uint8_t>()[i];
  }
}

void Array::Set(int64_t i, double value) {
  switch (dtype) {
    case DType::kF16:
      as<uint16_t>()[i] = HalfFromDouble(value);
      return;
    case DType::kF32:
      as<float>()[i] = static_cast<float>(value);
      return;
    case DType::kI32:
      as<int32_t>()[i] = static_cast<int32_t>(value);
      return;
    case DType::kI16:
    case DType::kU16:
      as<uint16_t>()[i] = static_cast<uint16_t>(static_cast<int64_t>(value));
      return;
    default:
      as<uint8_t>()[i] = static_cast<uint8_t>(static_cast<int64_t>(value));
  }
}

Array Random(DType dtype, Sizes shape, double scale) {
  static std::mt19937 generator(5);
  std::normal_distribution<double> normal(0.0, scale);
  Array made(dtype, std::move(shape));
  for (int64_t i = 0; i < made.size(); ++i) made.Set(i, normal(generator));
  return made;
}

Array Of(DType dtype, Sizes shape, std::initializer_list<double> values) {
  Array made(dtype, std::move(shape));
  REQUIRE(made.size() == static_cast<int64_t>(values.size()));
  int64_t i = 0;
  for (double value : values) made.Set(i++, value);
  return made;
}

double Rounding(DType dtype, double value) {
  if (dtype != DType::kF16 && dtype != DType::kF32) return 0;
  const int fraction = dtype == DType::kF16 ? 11 : 24, least = dtype == DType::kF16 ? -13 : -125;
  int exponent = least;
  if (value != 0) std::frexp(value, &exponent);
  return std::ldexp(0.5, std::max(exponent, least) - fraction);
}

std::vector<Array> Run(const Call& call, const std::vector<Array>& inputs, std::vector<Array> outputs, int threads) {
  Executable executable(threads);
  auto sizes = [&](const Sizes& values) {
    std::vector<SizeRef> made;
    for (int64_t value : values) made.push_back({executable.sizes().Add({{SizeTable::Op::kConstant, value}})});
    return made;
  };
  std::vector<Array> given = inputs;
  std::vector<int> in, out;
  std::vector<void*> externals;
  for (Array& array : given) {
    in.push_back(executable.AddExternal(array.dtype, sizes(array.shape)));
    externals.push_back(array.bytes.data());
  }
  for (Array& array : outputs) {
    out.push_back(executable.AddExternal(array.dtype, sizes(array.shape)));
    externals.push_back(array.bytes.data());
  }
  std::map<std::string, Attribute> attributes = call.attributes;
  for (const auto& [name, values] : call.sizes) attributes.emplace(name, sizes(values));
  executable.AddCall(call.kernel, Attributes(std::move(attributes)), in, out);
  executable.Configure({});
  executable.Run(externals, nullptr);
  for (size_t i = 0; i < given.size(); ++i) REQUIRE(given[i].bytes == inputs[i].bytes);  // operands are only read
  return outputs;
}

Array Run1(const Call& call, const std::vector<Array>& inputs, DType dtype, Sizes shape) {
  Array result = Run(call, inputs, {Array(dtype, shape)}, 1)[0];
  for (int threads : {2, 3}) {
    const Array other = Run(call, inputs, {Array(dtype, shape)}, threads)[0];
    REQUIRE_MESSAGE(other.bytes == result.bytes, call.kernel << " depends on the number of threads");
  }
  return result;
}

std::shared_ptr<Prepared> Program(int inputs, int registers, std::vector<TileStep> steps, std::vector<int> outputs) {
  auto program = std::make_shared<TileProgram>();
  program->inputs = inputs;
  program->registers = registers;
  program->steps = std::move(steps);
  program->outputs = std::move(outputs);
  program->Check();
  return program;
}

}  // namespace gristmill::test
