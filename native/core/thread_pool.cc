#include "core/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <new>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace gristmill {
namespace {

void Pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// About 50 µs on today's machines: longer than the gaps between kernels, too short to be noticed as load.
constexpr int kSpins = 2000;

thread_local bool inside_region = false;

}  // namespace

// What the workers see. A region is open while its caller works on it; a worker that comes in time joins, and one that
// is late, or busy elsewhere, is not waited for.
struct ThreadPool::Workers {
  static constexpr uint32_t kOpen = 1u << 31;

  alignas(64) std::atomic<uint32_t> region{0};  // counts regions, for workers to wait on
  alignas(64) std::atomic<uint32_t> gate{0};    // kOpen, and the number of workers inside
  alignas(64) std::atomic<int64_t> next{0};
  alignas(64) std::atomic<int> sleeping{0};
  std::atomic<bool> stop{false};
  int64_t tasks = 0;
  int threads = 0;
  TaskRef fn;
  std::vector<std::thread> members;

  bool Join() {
    uint32_t seen = gate.load(std::memory_order_acquire);
    while (seen & kOpen) {
      if (gate.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel)) return true;
    }
    return false;
  }

  void Share(int thread) {
    inside_region = true;
    for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) fn(task, thread);
    inside_region = false;
  }
};

ThreadPool& ThreadPool::Global() {
  // Never destroyed: a worker may still be asleep in it when the process ends.
  static ThreadPool* pool = [] {
    auto* made = new ThreadPool;
    pthread_atfork(
        nullptr, nullptr, [] {
          // The child has no workers and may have inherited a locked mutex: it starts anew, and leaks what it cannot
          // use.
          ThreadPool& pool = Global();
          (void)pool.workers_.release();
          new (&pool) ThreadPool;
        });
    return made;
  }();
  return *pool;
}

void ThreadPool::Work(Workers* workers, int index) {
  uint32_t seen = 0;
  for (;;) {
    uint32_t region = workers->region.load(std::memory_order_acquire);
    for (int spin = 0; region == seen && spin < kSpins; ++spin) {
      Pause();
      region = workers->region.load(std::memory_order_acquire);
    }
    while (region == seen) {
      workers->sleeping.fetch_add(1);
      workers->region.wait(seen);
      workers->sleeping.fetch_sub(1);
      region = workers->region.load(std::memory_order_acquire);
    }
    seen = region;
    if (workers->stop.load()) return;
    if (!workers->Join()) continue;
    if (index < workers->threads) workers->Share(index);
    workers->gate.fetch_sub(1, std::memory_order_release);
  }
}

void ThreadPool::EnsureWorkers(int count) {
  if (workers_ && static_cast<int>(workers_->members.size()) >= count) return;
  if (workers_) {
    workers_->stop.store(true);
    workers_->region.fetch_add(1);
    workers_->region.notify_all();
    for (auto& member : workers_->members) member.join();
  }
  workers_ = std::make_unique<Workers>();
  for (int i = 1; i <= count; ++i) workers_->members.emplace_back(Work, workers_.get(), i);
}

void ThreadPool::Run(int64_t tasks, int threads, TaskRef fn) {
  std::unique_lock<std::mutex> lock(in_use_, std::defer_lock);
  if (threads <= 1 || tasks <= 1 || inside_region || !lock.try_lock()) {
    for (int64_t task = 0; task < tasks; ++task) fn(task, 0);
    return;
  }
  EnsureWorkers(threads - 1);
  Workers& w = *workers_;
  w.fn = fn;
  w.tasks = tasks;
  w.threads = threads;
  w.next.store(0, std::memory_order_relaxed);
  w.gate.store(Workers::kOpen, std::memory_order_release);
  w.region.fetch_add(1);  // sequentially consistent, like `sleeping`: either we see the sleeper or it sees the region
  if (w.sleeping.load() != 0) w.region.notify_all();
  w.Share(0);
  w.gate.fetch_and(~Workers::kOpen, std::memory_order_acq_rel);
  for (int spin = 0; w.gate.load(std::memory_order_acquire) != 0; ++spin) {
    if (spin < kSpins) {
      Pause();
    } else {
      sched_yield();  // a worker may wait for this processor
    }
  }
}

int DefaultThreads() {
  if (const char* text = std::getenv("GRISTMILL_NUM_THREADS")) {
    const int count = std::atoi(text);
    if (count > 0) return count;
  }
#if defined(__linux__)  // a container may be given fewer processors than the machine has
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

}  // namespace gristmill
