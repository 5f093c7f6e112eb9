// Memory aligned for vectors and cache lines, with room to read one vector past the end.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace gristmill {

constexpr size_t kAlignment = 64;
// Kernels may read (never write) this far past the end of buffers and scratch memory. Operands may be arrays from
// elsewhere, which have no such room.
constexpr size_t kPadding = 64;
// Where the system has pages of this size, large buffers ask for them: weights are read in order, and a page that is
// touched for the first time costs as much as reading many kilobytes.
constexpr size_t kHugePage = size_t{1} << 21;

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
    const bool huge = bytes >= 2 * kHugePage;
    const size_t alignment = huge ? kHugePage : kAlignment;
    data_ = std::aligned_alloc(alignment, (Room(bytes) + alignment - 1) / alignment * alignment);
    if (data_ == nullptr) throw std::bad_alloc();
#if defined(__linux__)
    // Only whole huge pages: the rest of the last one takes no memory. Advice: whether it is taken does not matter.
    if (huge) (void)madvise(data_, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
    capacity_ = bytes;
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
