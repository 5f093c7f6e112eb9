// Contents that are made in the background are there when they are waited for, whole or with an error.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#include "core/buffer.h"
#include "core/expected.h"
#include "core/loading.h"
#include "doctest/doctest.h"

namespace gristmill::test {
namespace {

// Parts that take a moment, so that some are left when somebody waits.
std::shared_ptr<Loading> Slow(std::vector<int>& made, int64_t bad = -1) {
  return Loading::Begin("slow", static_cast<int64_t>(made.size()), [&made, bad](int64_t part) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ++made[static_cast<size_t>(part)];
    return part != bad;
  });
}

}  // namespace

TEST_CASE("every part is made once, whoever waits") {
  const std::vector<int> once(40, 1);
  for (int round = 0; round < 3; ++round) {
    std::vector<int> first(40), second(40);
    const auto one = Slow(first), other = Slow(second);
    std::thread waits([&] { other->Finish(); });
    one->Finish();
    CHECK(first == once);
    waits.join();
    CHECK(second == once);
    one->Finish();  // again: nothing is left
  }
  Loading::Begin("nothing", 0, [](int64_t) { return false; })->Finish();
}

TEST_CASE("a process of one thread makes all parts at once") {
  const char* before = std::getenv("GRISTMILL_NUM_THREADS");
  const std::string kept = before == nullptr ? "" : before;
  setenv("GRISTMILL_NUM_THREADS", "1", 1);
  std::vector<int> made(5);
  (void)Slow(made);
  CHECK(made == std::vector<int>(5, 1));
  before == nullptr ? unsetenv("GRISTMILL_NUM_THREADS") : setenv("GRISTMILL_NUM_THREADS", kept.c_str(), 1);
}

TEST_CASE("a part that cannot be made is an error for each who waits, and the others are made") {
  std::vector<int> made(20);
  const auto loading = Slow(made, 7);
  CHECK_THROWS_WITH_AS(loading->Finish(), "the weights of 'slow' cannot be read: the file shrank while it was read", FileError);
  CHECK_THROWS_AS(loading->Finish(), FileError);
  CHECK(made == std::vector<int>(20, 1));
  const auto large = Loading::Begin("large", 3, [](int64_t part) -> bool { return part == 1 ? throw std::bad_alloc() : true; });
  CHECK_THROWS_AS(large->Finish(), std::bad_alloc);
}

TEST_CASE("what is being made may be dropped, and a child finds it made") {
  std::vector<int> made(30);
  (void)Slow(made);
  const pid_t child = fork();
  if (child == 0) {
    std::vector<int> own(10, 1);
#if !defined(__SANITIZE_THREAD__)  // which takes a child's thread for the parent's where both have one address
    own.assign(10, 0);
    Slow(own)->Finish();  // the child makes parts of its own too
#endif
    _exit(made == std::vector<int>(30, 1) && own == std::vector<int>(10, 1) ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("what is for idle moments is done in order, after what is loaded, until somebody hurries") {
  std::vector<int> made(10);
  std::vector<std::pair<int64_t, int>> found;  // each part, and how much was loaded before it
  std::atomic<size_t> done{0};
  (void)Slow(made);
  Loading::WhenIdle(3, [&](int64_t part) {
    found.emplace_back(part, std::accumulate(made.begin(), made.end(), 0));
    ++done;
  });
  while (done < 3) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(found == std::vector<std::pair<int64_t, int>>{{0, 10}, {1, 10}, {2, 10}});

  std::atomic<int> parts{0};
  Loading::WhenIdle(100000, [&](int64_t) { ++parts, std::this_thread::sleep_for(std::chrono::milliseconds(1)); });
  Loading::Hurry();
  std::vector<int> next(2);
  Slow(next)->Finish();  // which also waits for the part in hand
  CHECK(parts < 100000);
  const int before = parts;
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(parts == before);
}

TEST_CASE("who uses memory that is being made ready finds what it wrote") {
  std::FILE* const stream = std::tmpfile();
  REQUIRE(stream != nullptr);
  REQUIRE(ftruncate(fileno(stream), 100 << 20) == 0);
  for (const bool mapped : {true, false}) {
    const Expected expected(fileno(stream), 100 << 20, mapped, 60 << 20);
    std::vector<Buffer> parts;
    for (int i = 0; i < 40; ++i) {
      parts.push_back(SharedBlock(size_t{1} << 20));
      std::fill_n(parts.back().as<char>(), size_t{1} << 20, static_cast<char>(i + 1));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    for (int i = 0; i < 40; ++i) {
      const char* const at = parts[static_cast<size_t>(i)].as<char>();
      CHECK(std::count(at, at + (1 << 20), static_cast<char>(i + 1)) == 1 << 20);
    }
  }
  std::fclose(stream);
}

}  // namespace gristmill::test
