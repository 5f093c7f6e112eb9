#include "core/buffer.h"

#include <atomic>
#include <mutex>

namespace gristmill {

namespace {

constexpr size_t kBlock = 32 * kHugePage;

// The block that parts are taken from, and how much of it is.
struct Blocks {
  std::mutex mutex;
  std::weak_ptr<Buffer> last;
  size_t used = 0;

  std::shared_ptr<Buffer> With(size_t room) {
    std::shared_ptr<Buffer> block = last.lock();
    if (block == nullptr || used + room > kBlock) {
      last = block = std::make_shared<Buffer>(kBlock);
      used = 0;
    }
    return block;
  }
};

Blocks& TheBlocks() {
  static Blocks blocks;
  return blocks;
}

}  // namespace

Buffer SharedBlock(size_t bytes) {
  if (bytes > kBlock / 4) return Buffer(bytes);
  Blocks& blocks = TheBlocks();
  const std::lock_guard<std::mutex> lock(blocks.mutex);
  std::shared_ptr<Buffer> block = blocks.With(Room(bytes));
  char* const at = block->as<char>() + blocks.used;
  blocks.used += Room(bytes);
  return {std::shared_ptr<void>(std::move(block), at), bytes};
}

std::shared_ptr<Buffer> NextSharedBlock() {
  Blocks& blocks = TheBlocks();
  const std::lock_guard<std::mutex> lock(blocks.mutex);
  return blocks.With(0);
}

void MakeFreePages(const Buffer& block, size_t offset, size_t bytes) {
  constexpr size_t kSmallest = 4096;
  {
    Blocks& blocks = TheBlocks();
    const std::lock_guard<std::mutex> lock(blocks.mutex);
    if (blocks.last.lock().get() != &block || offset < blocks.used || offset + bytes > block.capacity()) return;
  }
  // Parts may be taken from there meanwhile: nobody waits for the lock, and what is there stays.
  char* const at = block.as<char>() + offset;
#if defined(MADV_POPULATE_WRITE)  // all at once; systems before Linux 5.14 refuse
  if (madvise(at, bytes, MADV_POPULATE_WRITE) == 0) return;
#endif
  for (size_t i = 0; i < bytes; i += kSmallest) std::atomic_ref<char>(at[i]).fetch_or(0, std::memory_order_relaxed);
}

std::shared_ptr<Buffer> FileBuffer(const FileRange& file, int64_t bytes, std::string name) {
  constexpr int64_t kPart = int64_t{1} << 20;
  if (const auto& mapping = file.mapping(); mapping != nullptr) {
    // Nobody writes to constants.
    auto buffer = std::make_shared<Buffer>(std::shared_ptr<void>(mapping, const_cast<char*>(file.data())),
                                           static_cast<size_t>(bytes));
    buffer->Load(Loading::Begin(std::move(name), 0, nullptr, mapping));
    return buffer;
  }
  auto buffer = std::make_shared<Buffer>(static_cast<size_t>(bytes));
  buffer->Load(Loading::Begin(std::move(name), (bytes + kPart - 1) / kPart, [=](int64_t part) {
    const int64_t from = part * kPart;
    return file.Read(from, std::min(kPart, bytes - from), buffer->as<char>() + from);
  }));
  return buffer;
}

const char* BytesOf(const FileRange& file, int64_t from, int64_t count, Buffer& room) {
  if (file.mapping() != nullptr) return file.data() + from;
  room.Resize(static_cast<size_t>(count));
  return file.Read(from, count, room.as<char>()) ? room.as<char>() : nullptr;
}

}  // namespace gristmill
