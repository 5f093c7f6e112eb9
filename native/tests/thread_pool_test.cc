// The pool: every task once, from any number of callers, after fork, and nothing to do when idle.
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "core/thread_pool.h"
#include "support.h"

namespace gristmill::test {
namespace {

// How often each task ran, and whether every thread had a number below `threads`. doctest's checks are for one thread,
// so tasks only write.
bool EachTaskOnce(int64_t tasks, int threads) {
  std::vector<std::atomic<int>> runs(static_cast<size_t>(tasks));
  std::atomic<bool> known{true};
  ThreadPool::Global().Run(tasks, threads, [&](int64_t task, int thread) {
    runs[static_cast<size_t>(task)].fetch_add(1, std::memory_order_relaxed);
    if (thread < 0 || thread >= threads) known = false;
  });
  return known && std::all_of(runs.begin(), runs.end(), [](const auto& count) { return count == 1; });
}

double ProcessorSeconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

void Sleep(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

}  // namespace

TEST_CASE("every task runs once, at any number of threads, which may change between regions") {
  for (int threads : {1, 2, 5, 3, 8, 2}) {
    for (int64_t tasks : {0, 1, 2, 3, 7, 64, 1000}) CHECK(EachTaskOnce(tasks, threads));
  }
}

TEST_CASE("what tasks wrote is seen after the region") {
  std::vector<int64_t> results(256);
  for (int64_t round = 0; round < 500; ++round) {
    ThreadPool::Global().Run(256, 3, [&](int64_t task, int) { results[static_cast<size_t>(task)] = round + task; });
    int64_t sum = 0;
    for (int64_t value : results) sum += value;
    REQUIRE(sum == 256 * round + 255 * 128);
  }
}

TEST_CASE("several threads may run regions at once") {
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 6; ++caller) {
    callers.emplace_back([&wrong, caller] {
      for (int round = 0; round < 200; ++round) wrong += !EachTaskOnce(1 + (round * 7 + caller) % 40, 1 + caller % 4);
    });
  }
  for (auto& caller : callers) caller.join();
  CHECK(wrong == 0);
}

TEST_CASE("a region within a region runs in the thread that meets it") {
  std::atomic<int> runs{0};
  std::atomic<int> other{0};
  ThreadPool::Global().Run(20, 4, [&](int64_t, int) {
    const auto self = std::this_thread::get_id();
    ThreadPool::Global().Run(10, 4, [&](int64_t, int thread) {
      ++runs;
      if (thread != 0 || std::this_thread::get_id() != self) ++other;
    });
  });
  CHECK(runs == 200);
  CHECK(other == 0);
  CHECK(EachTaskOnce(100, 4));  // a region of its own is shared again
}

TEST_CASE("a child has workers of its own after fork, also while other threads use the pool") {
  for (bool busy : {false, true}) {
    CHECK(EachTaskOnce(50, 3));
    std::atomic<bool> stop{false};
    std::thread other([&] {
      while (busy && !stop) EachTaskOnce(50, 3);
    });
    for (int child = 0; child < 5; ++child) {
      const pid_t pid = fork();
      if (pid == 0) {
        alarm(20);  // a child that hangs ends by a signal
        bool good = true;
        for (int round = 0; round < 20; ++round) good = good && EachTaskOnce(50, 3);
        _exit(good ? 0 : 1);
      }
      REQUIRE(pid > 0);
      int status = 0;
      REQUIRE(waitpid(pid, &status, 0) == pid);
      CHECK(WIFEXITED(status));
      CHECK(WEXITSTATUS(status) == 0);
    }
    stop = true;
    other.join();
    CHECK(EachTaskOnce(50, 3));
  }
}

TEST_CASE("idle workers use no processor time") {
  CHECK(EachTaskOnce(100, 4));
  Sleep(50);  // longer than workers spin, on a busy machine too
  const double before = ProcessorSeconds();
  Sleep(300);
  CHECK(ProcessorSeconds() - before < 0.015);
}

// Not part of a plain run, since it wants a quiet machine: native_tests --no-skip --test-case='overhead*'. Every thread
// has one task of 20 µs; what the region takes beyond that is its overhead, with the time until workers join.
TEST_CASE("overhead of a parallel region" * doctest::skip()) {
  using Clock = std::chrono::steady_clock;
  const int processors = static_cast<int>(std::thread::hardware_concurrency());
  for (int threads = 1; threads <= processors; ++threads) {
    std::vector<double> overhead;
    for (int round = 0; round < 5000; ++round) {
      const auto start = Clock::now();
      ThreadPool::Global().Run(threads, threads, [](int64_t, int) {
        for (const auto end = Clock::now() + std::chrono::microseconds(20); Clock::now() < end;) {}
      });
      overhead.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count() - 20);
    }
    std::sort(overhead.begin(), overhead.end());
    MESSAGE(threads << " threads: 10% below " << overhead[500] << " us, median " << overhead[2500] << " us");
    CHECK(overhead[2500] < 5);
  }
}

}  // namespace gristmill::test
