// Memory aligned for vectors and cache lines, with room to read one vector past the end.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "core/file.h"
#include "core/loading.h"

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
  // Memory of somebody else's, which is only read; `data` keeps it alive.
  Buffer(std::shared_ptr<void> data, size_t bytes) : data_(std::move(data)), capacity_(bytes) {}
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  Buffer(Buffer&& other) noexcept
      : data_(std::move(other.data_)), capacity_(std::exchange(other.capacity_, 0)), loading_(std::move(other.loading_)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(capacity_, other.capacity_);
    std::swap(loading_, other.loading_);
    return *this;
  }

  // Makes room for `bytes`; what was there is lost when it has to grow.
  void Resize(size_t bytes) {
    if (bytes <= capacity_) return;
    data_.reset();
    capacity_ = 0;
    const bool huge = bytes >= 2 * kHugePage;
    const size_t alignment = huge ? kHugePage : kAlignment;
    void* data = std::aligned_alloc(alignment, (Room(bytes) + alignment - 1) / alignment * alignment);
    if (data == nullptr) throw std::bad_alloc();
    data_ = {data, std::free};
#if defined(__linux__)
    // Only whole huge pages: the rest of the last one takes no memory. Advice: whether it is taken does not matter.
    if (huge) (void)madvise(data, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
    capacity_ = bytes;
  }

  // The same, by at least half of what there was, so that a need that creeps up is seldom met.
  void Grow(size_t bytes) {
    if (bytes > capacity_) Resize(std::max(bytes, capacity_ + capacity_ / 2));
  }

  // Pages of the first `bytes` that nobody has touched yet will be small ones.
  void KeepPagesSmall(size_t bytes) const {
#if defined(__linux__)
    (void)madvise(data_.get(), std::min(bytes, capacity_) / kHugePage * kHugePage, MADV_NOHUGEPAGE);
#else
    (void)bytes;
#endif
  }

  template <typename T = char>
  T* as() const {
    return static_cast<T*>(data_.get());
  }
  size_t capacity() const { return capacity_; }

  // What makes its contents, where that goes on in the background.
  void Load(std::shared_ptr<Loading> loading) { loading_ = std::move(loading); }
  // Returns when its contents are there; throws what Loading::Finish throws.
  void Finish() const {
    if (loading_ != nullptr) loading_->Finish();
  }
  bool done() const { return loading_ == nullptr || loading_->done(); }

 private:
  std::shared_ptr<void> data_;
  size_t capacity_ = 0;
  std::shared_ptr<Loading> loading_;
};

// Memory for constants of a model that are read in order, one after the other: they share blocks of huge pages. A block
// lives as long as any of its parts.
Buffer SharedBlock(size_t bytes);

// A block from which the next parts will be taken, as long as somebody has it or one of them.
std::shared_ptr<Buffer> NextSharedBlock();
// Has the system make the pages of a stretch of such a block, if no part has been taken from there or behind it.
void MakeFreePages(const Buffer& block, size_t offset, size_t bytes);

// Bytes of the constant `name`: where they are mapped, or read in the background.
std::shared_ptr<Buffer> FileBuffer(const FileRange& file, int64_t bytes, std::string name);

// Bytes [from, from + count) of a range: where they are mapped, or read to `room`; nullptr where they cannot be read. Who
// has used them says so (FileRange::Done).
const char* BytesOf(const FileRange& file, int64_t from, int64_t count, Buffer& room);

}  // namespace gristmill
