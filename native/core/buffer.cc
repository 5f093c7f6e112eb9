#include "core/buffer.h"

#include <mutex>

namespace gristmill {

Buffer SharedBlock(size_t bytes) {
  constexpr size_t kBlock = 16 * kHugePage;
  if (bytes > kBlock / 4) return Buffer(bytes);
  static std::mutex mutex;
  static std::weak_ptr<Buffer> last;
  static size_t used = 0;
  const std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<Buffer> block = last.lock();
  if (block == nullptr || used + Room(bytes) > kBlock) {
    last = block = std::make_shared<Buffer>(kBlock);
    used = 0;
  }
  char* const at = block->as<char>() + used;
  used += Room(bytes);
  return {std::shared_ptr<void>(std::move(block), at), bytes};
}

}  // namespace gristmill
