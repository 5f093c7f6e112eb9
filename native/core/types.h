// Element types, shapes and tensors as kernels see them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace gristmill {

// A mistake in how native code was called. Becomes a Python exception; the process never aborts.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void Require(bool condition, const char* what) {
  if (!condition) throw Error(what);
}

enum class DType : uint8_t { kF16, kF32, kI32, kI16, kU16, kI8, kU8, kBool };

inline size_t SizeOf(DType type) {
  switch (type) {
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kF16:
    case DType::kI16:
    case DType::kU16:
      return 2;
    default:
      return 1;
  }
}

constexpr size_t kMaxRank = 8;

// Sizes of a tensor, outermost first.
struct Shape {
  size_t rank = 0;
  std::array<int64_t, kMaxRank> dims{};

  int64_t operator[](size_t axis) const { return dims[axis]; }
  int64_t& operator[](size_t axis) { return dims[axis]; }
  bool operator==(const Shape& other) const {
    if (rank != other.rank) return false;
    for (size_t i = 0; i < rank; ++i)
      if (dims[i] != other.dims[i]) return false;
    return true;
  }
  int64_t size() const { return Product(0, rank); }
  int64_t Product(size_t from, size_t to) const {
    int64_t count = 1;
    for (size_t i = from; i < to; ++i) count *= dims[i];
    return count;
  }
};

// What a kernel reads or writes: dense, in the order of its shape.
struct Tensor {
  DType dtype = DType::kF32;
  Shape shape;
  void* data = nullptr;
  bool given = false;  // false stands for an operand that is left out

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
  int64_t bytes() const { return shape.size() * static_cast<int64_t>(SizeOf(dtype)); }
};

}  // namespace gristmill
