// Contents of constants that are read and packed while the program that uses them is still being lowered.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/mapping.h"
#include "core/types.h"

namespace gristmill {

// A file that cannot be read any more as it could when it was opened.
struct FileError : Error {
  using Error::Error;
};

// The making of one constant's contents, in parts. A thread of its own takes part after part, of one constant after the
// other; it is there only while there is something to do.
class Loading {
 public:
  // Makes one part; false where the file is too short. Parts may be made at once and in any order.
  using MakePart = std::function<bool(int64_t part)>;

  // Begins, and is done at once where the process uses one thread. `name` says whose contents they are, and `mapping`
  // where they lie, if they stay there.
  static std::shared_ptr<Loading> Begin(std::string name, int64_t parts, MakePart make,
                                        std::shared_ptr<const Mapping> mapping = nullptr);

  // Does parts of what makes loading faster later, in order, when nothing is left to load; nowhere if the process uses one
  // thread. Whoever needs the processors now says Hurry, which forgets parts that nobody has begun.
  static void WhenIdle(int64_t parts, std::function<void(int64_t part)> work);
  static void Hurry();

  // Returns when all parts are made, and helps until then. Throws FileError, or std::bad_alloc, where one could not be, and
  // FileError where the mapping has lost pages since.
  void Finish();
  // Whether all parts are made and none failed.
  bool done() const { return left_ == 0 && !short_ && !no_memory_; }

 private:
  struct Queue;
  friend struct Queue;

  Loading(std::string name, int64_t parts, MakePart make, std::shared_ptr<const Mapping> mapping)
      : name_(std::move(name)), make_(std::move(make)), mapping_(std::move(mapping)), left_(parts) {}
  void Make(int64_t part);

  std::string name_;
  MakePart make_;  // given up when all parts are made: it may hold what holds this
  std::shared_ptr<const Mapping> mapping_;
  std::atomic<int64_t> left_;
  std::atomic<bool> short_{false}, no_memory_{false};
};

}  // namespace gristmill
