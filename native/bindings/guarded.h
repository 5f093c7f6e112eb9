// Executables as Python has them: of one thread at a time.
#pragma once

#include <pthread.h>

#include <mutex>
#include <new>
#include <shared_mutex>

#include "core/executable.h"

namespace gristmill {

// An executable with the lock that lets one prediction at a time use its arena.
struct Guarded {
  explicit Guarded(int threads) : executable(threads) {}
  Executable executable;
  std::mutex mutex;
};

// Shared by all predictions that run. A fork waits for them: in the midst of one its child would inherit a lock that
// nobody opens.
inline std::shared_mutex& Running() {
  static std::shared_mutex* running = [] {
    pthread_atfork([] { Running().lock(); }, [] { Running().unlock(); }, [] { new (&Running()) std::shared_mutex; });
    return new std::shared_mutex;
  }();
  return *running;
}

// What a prediction holds while it uses an executable; taken without the GIL, which a fork holds while it waits.
struct Turn {
  explicit Turn(Guarded& guarded) : running(Running()), lock(guarded.mutex) {}
  std::shared_lock<std::shared_mutex> running;
  std::lock_guard<std::mutex> lock;
};

}  // namespace gristmill
