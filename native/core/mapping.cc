#include "core/mapping.h"

#if !defined(_WIN32)
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <mutex>
#include <utility>

namespace gristmill {
namespace {

std::atomic<int64_t> lost_pages{0};
struct sigaction previous;

size_t PageSize() {
  static const size_t size = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

}  // namespace

// Where a mapping lies, for the signal handler: it may come at any moment, so entries are never deleted, only used again.
struct Mapping::Guard {
  std::atomic<uintptr_t> begin{0}, end{0};
  std::atomic<bool> lost{false};
  std::atomic<bool> used{true};
  Guard* next = nullptr;

  static std::atomic<Guard*> first;

  static Guard* Of(const char* pages, size_t length) {
    static std::once_flag installed;
    std::call_once(installed, Install);
    static std::mutex mutex;
    const std::lock_guard<std::mutex> lock(mutex);
    Guard* guard = first;
    while (guard != nullptr && guard->used) guard = guard->next;
    if (guard == nullptr) {
      guard = new Guard;
      guard->next = first;
      first = guard;
    }
    guard->lost = false, guard->used = true;
    guard->begin = reinterpret_cast<uintptr_t>(pages);
    guard->end = reinterpret_cast<uintptr_t>(pages) + length;
    return guard;
  }

  void Release() {
    end = 0, begin = 0;
    used = false;
  }

  static void Install() {
    (void)PageSize();
    struct sigaction action = {};
    action.sa_sigaction = OnBusError;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &previous);
  }

  // A page of a mapping that its file no longer has becomes one of zeros, and the access is done again.
  static void OnBusError(int, siginfo_t* info, void*) {
    const int error = errno;
    const auto at = reinterpret_cast<uintptr_t>(info->si_addr);
    for (Guard* guard = first; guard != nullptr; guard = guard->next) {
      if (at < guard->begin || at >= guard->end) continue;
      const size_t size = PageSize();
      void* page = reinterpret_cast<void*>(at / size * size);
      if (mmap(page, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) break;
      guard->lost = true;
      ++lost_pages;
      errno = error;
      return;
    }
    sigaction(SIGBUS, &previous, nullptr);  // not ours: the access is done again, for who cared before
    errno = error;
  }
};

std::atomic<Mapping::Guard*> Mapping::Guard::first{nullptr};

namespace {

// Bytes in whole pages, and one more, which kernels may read and the file need not have.
size_t WithPadding(size_t size) { return (size + PageSize() - 1) / PageSize() * PageSize() + PageSize(); }

}  // namespace

std::shared_ptr<const Mapping> Mapping::Of(int descriptor, int64_t size) {
  struct stat status;
  if (fstat(descriptor, &status) != 0 || size < 0 || status.st_size < size) return nullptr;
  static std::mutex mutex;
  static std::map<std::pair<dev_t, ino_t>, std::weak_ptr<const Mapping>> mappings;
  const std::lock_guard<std::mutex> lock(mutex);
  std::erase_if(mappings, [](const auto& one) { return one.second.expired(); });
  auto& known = mappings[{status.st_dev, status.st_ino}];
  if (auto found = known.lock(); found != nullptr && found->size_ >= size && !found->lost()) return found;
  const auto bytes = static_cast<size_t>(status.st_size);
  void* pages = mmap(nullptr, WithPadding(bytes), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return nullptr;
  std::shared_ptr<Mapping> made(new Mapping);
  made->data_ = static_cast<char*>(pages), made->size_ = status.st_size;
  if (bytes > 0 && mmap(pages, bytes, PROT_READ, MAP_PRIVATE | MAP_FIXED, descriptor, 0) == MAP_FAILED) return nullptr;
  made->guard_ = Guard::Of(made->data_, bytes);
  known = made;
  return made;
}

Mapping::~Mapping() {
  if (guard_ != nullptr) guard_->Release();
  munmap(data_, WithPadding(static_cast<size_t>(size_)));
}

bool Mapping::lost() const { return guard_->lost; }

// Not MADV_POPULATE_READ: that keeps every other thread from making or giving back memory meanwhile.
void Mapping::Touch(int64_t from, int64_t bytes) const {
  const auto page = static_cast<int64_t>(PageSize());
  for (int64_t at = from; at < from + bytes; at += page) (void)*static_cast<const volatile char*>(data_ + at);
}

void Mapping::Forget(int64_t from, int64_t bytes) const {
  const auto page = static_cast<int64_t>(PageSize());
  const int64_t begin = (from + page - 1) / page * page, end = (from + bytes) / page * page;
  if (begin < end) (void)madvise(data_ + begin, static_cast<size_t>(end - begin), MADV_DONTNEED);
}

int64_t LostPages() { return lost_pages.load(std::memory_order_relaxed); }

}  // namespace gristmill

#else

namespace gristmill {

struct Mapping::Guard {};
std::shared_ptr<const Mapping> Mapping::Of(int, int64_t) { return nullptr; }
Mapping::~Mapping() = default;
bool Mapping::lost() const { return false; }
void Mapping::Touch(int64_t, int64_t) const {}
void Mapping::Forget(int64_t, int64_t) const {}
int64_t LostPages() { return 0; }

}  // namespace gristmill
#endif
