#include "core/buffer.h"

#include <mutex>

namespace gristmill {

namespace {

// The block that parts are taken from, and how much of it is taken.
struct Current {
  std::mutex mutex;
  std::weak_ptr<Buffer> block;
  size_t used = 0;
};

Current& TheCurrent() {
  static Current current;
  return current;
}

}  // namespace

Buffer SharedBlock(size_t bytes) {
  constexpr size_t kBlock = 16 * kHugePage;
  Current& current = TheCurrent();
  const std::lock_guard<std::mutex> lock(current.mutex);
  std::shared_ptr<Buffer> block = current.block.lock();
  if (block == nullptr || current.used + Room(bytes) > block->capacity()) {
    if (bytes > kBlock / 4) return Buffer(bytes);
    current.block = block = std::make_shared<Buffer>(kBlock);
    current.used = 0;
  }
  char* const at = block->as<char>() + current.used;
  current.used += Room(bytes);
  return {std::shared_ptr<void>(std::move(block), at), bytes};
}

Reserve::Reserve(size_t bytes) : block_(std::make_shared<Buffer>(bytes)) {
  Current& current = TheCurrent();
  const std::lock_guard<std::mutex> lock(current.mutex);
  current.block = block_, current.used = 0;
#if defined(MADV_POPULATE_WRITE)  // since Linux 5.14; where it is refused pages are made when they are written to
  const auto pages = static_cast<int64_t>(bytes / kHugePage);
  (void)Loading::Begin("", pages, [block = block_](int64_t page) {
    (void)madvise(block->as<char>() + page * static_cast<int64_t>(kHugePage), kHugePage, MADV_POPULATE_WRITE);
    return true;
  });
#endif
}

Reserve::~Reserve() {
  Current& current = TheCurrent();
  const std::lock_guard<std::mutex> lock(current.mutex);
  if (current.block.lock() != block_) return;
  current.block.reset();
#if defined(__linux__)
  const size_t used = (current.used + kHugePage - 1) / kHugePage * kHugePage;
  if (used < block_->capacity()) (void)madvise(block_->as<char>() + used, block_->capacity() - used, MADV_DONTNEED);
#endif
}

std::shared_ptr<Buffer> ReadInBackground(const FileRange& file, int64_t bytes, std::string name) {
  constexpr int64_t kPart = int64_t{1} << 20;
  auto buffer = std::make_shared<Buffer>(SharedBlock(static_cast<size_t>(bytes)));
  buffer->Load(Loading::Begin(std::move(name), (bytes + kPart - 1) / kPart, [=](int64_t part) {
    const int64_t from = part * kPart;
    return file.Read(from, std::min(kPart, bytes - from), buffer->as<char>() + from);
  }));
  return buffer;
}

}  // namespace gristmill
