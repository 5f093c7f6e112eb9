// Memory aligned for vectors and cache lines, with room to read one vector past the end.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

namespace gristmill {

constexpr size_t kAlignment = 64;
// Kernels may read (never write) this far past the end of what they were given.
constexpr size_t kPadding = 64;

// Bytes rounded up to whole cache lines, with the padding: what one of several neighbours in a buffer takes.
constexpr size_t Room(size_t bytes) { return (bytes + kPadding + kAlignment - 1) / kAlignment * kAlignment; }

class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes) { Resize(bytes); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  Buffer(Buffer&& other) noexcept : data_(other.data_), capacity_(other.capacity_) {
    other.data_ = nullptr;
    other.capacity_ = 0;
  }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(capacity_, other.capacity_);
    return *this;
  }
  ~Buffer() { std::free(data_); }

  // Makes room for `bytes`; what was there is lost when it has to grow.
  void Resize(size_t bytes) {
    if (bytes <= capacity_) return;
    std::free(data_);
    data_ = nullptr;
    capacity_ = 0;
    data_ = std::aligned_alloc(kAlignment, Room(bytes));
    if (data_ == nullptr) throw std::bad_alloc();
    capacity_ = bytes;
  }

  // The same, by at least half of what there was, so that a need that creeps up is seldom met.
  void Grow(size_t bytes) {
    if (bytes > capacity_) Resize(std::max(bytes, capacity_ + capacity_ / 2));
  }

  template <typename T = char>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t capacity() const { return capacity_; }

 private:
  void* data_ = nullptr;
  size_t capacity_ = 0;
};

}  // namespace gristmill
