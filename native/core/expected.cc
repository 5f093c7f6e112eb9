#include "core/expected.h"

#include <algorithm>

#include "core/loading.h"
#include "core/thread_pool.h"

namespace gristmill {
namespace {

// Of one file: more might push out of memory what was brought there first.
constexpr int64_t kMostTouched = int64_t{1} << 30;
constexpr int64_t kPart = int64_t{1} << 22;
constexpr int64_t kFreshPart = int64_t{1} << 18;  // what may be in hand when somebody needs the processors

}  // namespace

Expected::Expected(int descriptor, int64_t size, bool mapped, int64_t fresh) {
  if (DefaultThreads() == 1 || size == 0) return;
  if (mapped) mapping_ = Mapping::Of(descriptor, size);
  if (mapping_ != nullptr) {
    const int64_t bytes = std::min(size, kMostTouched);
    Loading::WhenIdle((bytes + kPart - 1) / kPart, [mapping = mapping_, bytes](int64_t part) {
      mapping->Touch(part * kPart, std::min(kPart, bytes - part * kPart));
    });
  }
  block_ = NextSharedBlock();
  fresh = std::min(fresh, static_cast<int64_t>(block_->capacity()));
  // The host of a virtual machine may have taken back what this system freed, in large pieces. Then a huge page takes
  // longer than all of its small pages together, and in the first run these are as good.
  block_->KeepPagesSmall(static_cast<size_t>(fresh));
  Loading::WhenIdle(fresh / kFreshPart, [block = block_](int64_t part) {
    MakeFreePages(*block, static_cast<size_t>(part * kFreshPart), static_cast<size_t>(kFreshPart));
  });
}

}  // namespace gristmill
