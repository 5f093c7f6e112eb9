// A tensor with one slice of it replaced.
#include <algorithm>
#include <cstring>

#include "core/kernel.h"

namespace gristmill {
namespace {

// out = x, but out[begin + step·i] = update[i]. Inputs: x, or one element that is repeated, and update.
class Update : public Kernel {
 public:
  explicit Update(const Attributes& attributes)
      : begin_(attributes.get<std::vector<SizeRef>>("begin")), step_(attributes.get<std::vector<int64_t>>("step")) {}

  size_t Configure(const Operands& operands, const SizeTable& sizes, int) override {
    const Shape& update = operands.in(1).shape;
    const Shape& out = operands.out(0).shape;
    single_ = operands.in(0).shape.size() == 1;
    Require((single_ || operands.in(0).shape == out) && out.rank == update.rank, "an update has the rank of its tensor");
    Require(begin_.size() == out.rank && step_.size() == out.rank, "a slice begins somewhere on every axis");
    Require(operands.in(0).dtype == operands.in(1).dtype && operands.in(0).dtype == operands.out(0).dtype,
            "an update has the type of its tensor");
    counts_ = update;
    total_ = update.size();
    offset_ = 0;
    int64_t stride = 1;
    for (size_t axis = out.rank; axis-- > 0; stride *= out[axis]) {
      const int64_t begin = sizes[begin_[axis].entry], last = begin + step_[axis] * (update[axis] - 1);
      Require(total_ == 0 || (begin >= 0 && begin < out[axis] && last >= 0 && last < out[axis]),
              "a slice lies within its tensor");
      offset_ += begin * stride;
      strides_[axis] = step_[axis] * stride;
    }
    return 0;
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    const int64_t size = static_cast<int64_t>(SizeOf(operands.out(0).dtype)), bytes = operands.out(0).bytes();
    const char *from = operands.in(0).as<char>(), *update = operands.in(1).as<char>();
    char* to = operands.out(0).as<char>();
    constexpr int64_t kPart = 1 << 18;
    workspace.Parallel((bytes + kPart - 1) / kPart, [&](int64_t part, int) {
      const size_t count = static_cast<size_t>(std::min(kPart, bytes - part * kPart));
      if (single_) {
        Repeat(from, static_cast<size_t>(size), to + part * kPart, count);
      } else {
        std::memcpy(to + part * kPart, from + part * kPart, count);
      }
    });
    if (total_ == 0) return;
    const size_t rank = counts_.rank;
    const int64_t inner = rank == 0 ? 1 : counts_[rank - 1], stride = rank == 0 ? 1 : strides_[rank - 1];
    for (int64_t row = 0; row < total_ / inner; ++row) {
      int64_t rest = row, place = offset_;
      for (size_t axis = rank == 0 ? 0 : rank - 1; axis-- > 0; rest /= counts_[axis]) {
        place += rest % counts_[axis] * strides_[axis];
      }
      const char* source = update + row * inner * size;
      if (stride == 1) {
        std::memcpy(to + place * size, source, static_cast<size_t>(inner * size));
        continue;
      }
      for (int64_t i = 0; i < inner; ++i) {
        std::memcpy(to + (place + i * stride) * size, source + i * size, static_cast<size_t>(size));
      }
    }
  }

 private:
  // Fills `bytes` with one element, by copying what is there already.
  static void Repeat(const char* element, size_t size, char* to, size_t bytes) {
    std::memcpy(to, element, size);
    for (size_t done = size; done < bytes; done *= 2) std::memcpy(to + done, to, std::min(done, bytes - done));
  }

  std::vector<SizeRef> begin_;
  std::vector<int64_t> step_;
  Shape counts_;
  std::array<int64_t, kMaxRank> strides_{};
  int64_t offset_ = 0, total_ = 0;
  bool single_ = false;
};

const RegisterKernel update("update", [](const Attributes& a) { return std::make_unique<Update>(a); });

}  // namespace
}  // namespace gristmill
