// What the native tests share: arrays, random values, float16 by its definition, and one kernel run by name.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <algorithm>
#include <array>
#include <initializer_list>
#include <random>
#include <string>
#include <vector>

#include "core/executable.h"
#include "kernels/elementwise/tile_program.h"

namespace gristmill::test {

using Sizes = std::vector<int64_t>;

inline int64_t Count(const Sizes& shape) {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  return count;
}

// IEEE 754 binary16, written from its definition rather than with an instruction.
double HalfToDouble(uint16_t bits);
uint16_t HalfFromDouble(double value);  // to nearest, ties to even

// A dense array without padding, as arrays from Python are: a sanitizer sees every access beyond it.
struct Array {
  Array() = default;
  Array(DType type, Sizes sizes) : dtype(type), shape(std::move(sizes)), bytes(Count(shape) * SizeOf(type)) {}

  DType dtype = DType::kF32;
  Sizes shape;
  std::vector<char> bytes;

  int64_t size() const { return Count(shape); }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(bytes.data());
  }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(bytes.data());
  }
  // One element as a number, whatever its type.
  double operator[](int64_t i) const;
  void Set(int64_t i, double value);
  Array As(Sizes sizes) const {
    Array other = *this;
    other.shape = std::move(sizes);
    return other;
  }
};

// Normal values, the same ones in each run of the tests.
Array Random(DType dtype, Sizes shape, double scale = 1.0);
Array Of(DType dtype, Sizes shape, std::initializer_list<double> values);

// Half a unit in the last place of `dtype` at `value`: the error of one rounding.
double Rounding(DType dtype, double value);
// The contract's bound for a sum of `terms` products whose magnitudes add up to `size`, with one rounding of the result.
inline double SumBound(int64_t terms, double size, DType dtype, double result) {
  return 4 * std::sqrt(static_cast<double>(terms)) * std::ldexp(size, -24) + Rounding(dtype, result);
}

// The arguments of a kernel. `sizes` are given as numbers; the call puts them into the executable's table.
struct Call {
  std::string kernel;
  std::map<std::string, Attribute> attributes;
  std::map<std::string, Sizes> sizes;
};

// Runs one call on copies of the inputs, and returns its results. Throws what the engine throws.
std::vector<Array> Run(const Call& call, const std::vector<Array>& inputs, std::vector<Array> outputs, int threads = 2);
// A single result; the same at 1, 2 and 3 threads, which this checks.
Array Run1(const Call& call, const std::vector<Array>& inputs, DType dtype, Sizes shape);

std::shared_ptr<Prepared> Program(int inputs, int registers, std::vector<TileStep> steps, std::vector<int> outputs);

}  // namespace gristmill::test
