// Files that are used where they lie.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace gristmill {

// A file, mapped into memory. Pages that it no longer has, because somebody cut it meanwhile, read as zeros instead of
// ending the process; `lost` says so.
class Mapping {
 public:
  // The mapping of an open file, the same one as long as somebody has it. nullptr where the file has less than `size` bytes,
  // or the system maps no files.
  static std::shared_ptr<const Mapping> Of(int descriptor, int64_t size);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  const char* data() const { return data_; }
  int64_t size() const { return size_; }
  bool lost() const;
  // Makes the process know the pages of bytes, as reading them would.
  void Touch(int64_t from, int64_t bytes) const;
  // Says that bytes are not needed again: whole pages of them need not stay in memory.
  void Forget(int64_t from, int64_t bytes) const;

 private:
  struct Guard;
  friend struct Guard;
  Mapping() = default;

  char* data_ = nullptr;
  int64_t size_ = 0;
  Guard* guard_ = nullptr;
};

// How many pages were lost so far, of all mappings: cheap to ask after each run.
int64_t LostPages();

}  // namespace gristmill
