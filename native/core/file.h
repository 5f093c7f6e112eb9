// Reading weights from files that Python has opened and checked.
#pragma once

#include <cstdint>
#include <memory>

#include "core/mapping.h"
#include "core/types.h"

#if defined(_WIN32)
#define GRISTMILL_READS_FILES 0
#else
#define GRISTMILL_READS_FILES 1
#include <unistd.h>

#include <cerrno>
#endif

namespace gristmill {

// `size` bytes of an open file from `start` on: mapped, so that they are used where they lie, or else read when they are
// asked for. The file stays open as long as this does, whoever opened it.
class FileRange {
 public:
  FileRange(int descriptor, int64_t start, int64_t size, bool mapped)
      : start_(start), mapping_(mapped ? Mapping::Of(descriptor, start + size) : nullptr) {
    if (mapping_ != nullptr) return;
#if GRISTMILL_READS_FILES
    const int own = dup(descriptor);
    Require(own >= 0, "a weight file cannot be kept open: there are too many open files");
    descriptor_ = {new int(own), [](const int* which) { close(*which), delete which; }};
#else
    (void)descriptor;
#endif
  }

  // What maps the file, and where in it the bytes are; nullptr where they have to be read.
  const std::shared_ptr<const Mapping>& mapping() const { return mapping_; }
  const char* data() const { return mapping_ == nullptr ? nullptr : mapping_->data() + start_; }

  // Says that bytes of the range have been used for the last time. False where the file has lost any that were mapped.
  bool Done(int64_t from, int64_t count) const {
    if (mapping_ == nullptr) return true;
    mapping_->Forget(start_ + from, count);
    return !mapping_->lost();
  }

  // Reads bytes [from, from + count) of a range that is not mapped; false where the file has become shorter or cannot be
  // read. Threads may read at once: the file's own position is neither used nor moved.
  bool Read(int64_t from, int64_t count, char* to) const {
#if GRISTMILL_READS_FILES
    while (count > 0) {
      const ssize_t got = pread(*descriptor_, to, static_cast<size_t>(count), static_cast<off_t>(start_ + from));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return false;
      from += got, count -= got, to += got;
    }
    return true;
#else
    (void)from, (void)to;
    return count == 0;
#endif
  }

 private:
  int64_t start_;
  std::shared_ptr<const Mapping> mapping_;
  std::shared_ptr<const int> descriptor_;
};

}  // namespace gristmill
