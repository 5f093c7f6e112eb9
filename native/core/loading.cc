#include "core/loading.h"

#include <pthread.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "core/thread_pool.h"

namespace gristmill {

// Parts that nobody has begun to make, and the thread that makes them.
struct Loading::Queue {
  using Part = std::pair<std::shared_ptr<Loading>, int64_t>;

  std::mutex mutex;
  std::condition_variable idle;
  std::deque<Part> parts;
  std::deque<std::pair<std::shared_ptr<std::function<void(int64_t)>>, int64_t>> when_idle;
  bool working = false;  // whether there is the thread

  // Never destroyed: the thread may still work when the process ends.
  static Queue& Global() {
    static Queue* queue = [] {
      auto* made = new Queue;
      // A child would have no thread that goes on: it is forked when nothing is left to do.
      pthread_atfork([] { Global().FinishAndLock(); }, [] { Global().mutex.unlock(); }, [] { Global().mutex.unlock(); });
      return made;
    }();
    return *queue;
  }

  void Add(const std::shared_ptr<Loading>& loading, int64_t count) {
    const std::lock_guard<std::mutex> lock(mutex);
    for (int64_t part = 0; part < count; ++part) parts.emplace_back(loading, part);
    if (count > 0) Start();
  }

  void AddWhenIdle(std::function<void(int64_t)> work, int64_t count) {
    const auto shared = std::make_shared<std::function<void(int64_t)>>(std::move(work));
    const std::lock_guard<std::mutex> lock(mutex);
    for (int64_t part = 0; part < count; ++part) when_idle.emplace_back(shared, part);
    if (count > 0) Start();
  }

  // Called with the lock.
  void Start() {
    if (working) return;
    try {
      std::thread([this] { Work(); }).detach();
      working = true;  // it waits for the lock
    } catch (const std::system_error&) {
      // There are no more threads: who waits makes the parts.
    }
  }

  void Work() {
    std::unique_lock<std::mutex> lock(mutex);
    while (!parts.empty() || !when_idle.empty()) {
      if (!parts.empty()) {
        Part next = std::move(parts.front());
        parts.pop_front();
        lock.unlock();
        next.first->Make(next.second);
        next.first.reset();
      } else {
        auto next = std::move(when_idle.front());
        when_idle.pop_front();
        lock.unlock();
        (*next.first)(next.second);
        next.first.reset();
      }
      lock.lock();
    }
    working = false;
    idle.notify_all();
  }

  // All threads take what is left, then wait for what the thread has in hand.
  void Finish() {
    std::unique_lock<std::mutex> lock(mutex);
    const std::vector<Part> taken(std::move_iterator(parts.begin()), std::move_iterator(parts.end()));
    parts.clear();
    when_idle.clear();
    lock.unlock();
    ThreadPool::Global().Run(static_cast<int64_t>(taken.size()), DefaultThreads(), [&](int64_t i, int) {
      const auto& [loading, part] = taken[static_cast<size_t>(i)];
      loading->Make(part);
    });
    lock.lock();
    idle.wait(lock, [this] { return !working; });
  }

  void FinishAndLock() {
    for (Finish(), mutex.lock(); working || !parts.empty(); Finish(), mutex.lock()) mutex.unlock();
  }
};

std::shared_ptr<Loading> Loading::Begin(std::string name, int64_t parts, MakePart make,
                                        std::shared_ptr<const Mapping> mapping) {
  std::shared_ptr<Loading> loading(new Loading(std::move(name), parts, std::move(make), std::move(mapping)));
  if (DefaultThreads() > 1) {
    Queue::Global().Add(loading, parts);
  } else {
    for (int64_t part = 0; part < parts; ++part) loading->Make(part);
  }
  if (parts == 0) loading->make_ = nullptr;
  return loading;
}

void Loading::WhenIdle(int64_t parts, std::function<void(int64_t part)> work) {
  if (DefaultThreads() > 1) Queue::Global().AddWhenIdle(std::move(work), parts);
}

void Loading::Hurry() {
  Queue& queue = Queue::Global();
  const std::lock_guard<std::mutex> lock(queue.mutex);
  queue.when_idle.clear();
}

void Loading::Make(int64_t part) {
  try {
    if (!make_(part)) short_ = true;
  } catch (const std::bad_alloc&) {
    no_memory_ = true;
  }
  if (--left_ > 0) return;
  make_ = nullptr;
  left_.notify_all();
}

void Loading::Finish() {
  if (left_ > 0) Queue::Global().Finish();
  for (int64_t left; (left = left_) > 0;) left_.wait(left);  // what another thread that waits has in hand
  if (no_memory_) throw std::bad_alloc();
  if (short_ || (mapping_ != nullptr && mapping_->lost())) {
    throw FileError("the weights of '" + name_ + "' cannot be read: the file shrank while it was read");
  }
}

}  // namespace gristmill
