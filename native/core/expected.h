// What can be done for a model's weights before anybody knows what they are.
#pragma once

#include <memory>

#include "core/buffer.h"
#include "core/mapping.h"

namespace gristmill {

// A weight file that a program is about to use, while the program is decoded and lowered. The thread that loads constants
// has nothing to do until then: it makes pages, those of the mapped file known to the process, and fresh ones for values
// and working memory. Both would otherwise be made one by one in the first run, when every thread has something better to do.
class Expected {
 public:
  // `mapped` as in FileRange; `fresh` is how many bytes the first run will need, as far as can be guessed. A process
  // with one thread expects nothing.
  Expected(int descriptor, int64_t size, bool mapped, int64_t fresh);

 private:
  std::shared_ptr<const Mapping> mapping_;
  std::shared_ptr<Buffer> block_;
};

}  // namespace gristmill
