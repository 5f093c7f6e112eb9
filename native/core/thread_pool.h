// Worker threads that share the tasks of one parallel region.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace gristmill {

// A reference to a callable, which must outlive the call; std::function would allocate.
class TaskRef {
 public:
  TaskRef() = default;
  template <typename F>
  TaskRef(const F& f)  // NOLINT: implicit on purpose
      : object_(&f), call_([](const void* object, int64_t task, int thread) {
          (*static_cast<const F*>(object))(task, thread);
        }) {}
  void operator()(int64_t task, int thread) const { call_(object_, task, thread); }

 private:
  const void* object_ = nullptr;
  void (*call_)(const void*, int64_t, int) = nullptr;
};

// One pool serves the process. A run that finds it in use by another thread's run does its tasks alone: results never
// depend on the number of threads. Workers spin for a moment after a region, since the next one usually follows at
// once, and then sleep. After fork() the child starts workers of its own.
class ThreadPool {
 public:
  static ThreadPool& Global();

  // Calls fn(task, thread) for each task in [0, tasks), with thread in [0, threads). `fn` must not throw.
  void Run(int64_t tasks, int threads, TaskRef fn);

 private:
  struct Region;
  struct Workers;

  void EnsureWorkers(int count);
  static void Work(Workers* workers, int index);

  std::mutex in_use_;
  std::unique_ptr<Workers> workers_;
};

// Threads that runs use by default: GRISTMILL_NUM_THREADS, or the number of processors that this process may use.
int DefaultThreads();

}  // namespace gristmill
