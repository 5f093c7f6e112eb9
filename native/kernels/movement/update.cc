// A tensor with one slice of it replaced.
#include <algorithm>
#include <cstring>

#include "core/kernel.h"

namespace gristmill {
namespace {

// out = x, but out[begin + step·i] = update[i]. Inputs: x, update.
class Update : public Kernel {
 public:
  explicit Update(const Attributes& attributes)
      : begin_(attributes.get<std::vector<SizeRef>>("begin")), step_(attributes.get<std::vector<int64_t>>("step")) {}

  size_t Configure(const Operands& operands, const SizeTable& sizes, int) override {
    const Shape &x = operands.in(0).shape, &update = operands.in(1).shape;
    Require(x == operands.out(0).shape && x.rank == update.rank, "an update has the rank of its tensor");
    Require(begin_.size() == x.rank && step_.size() == x.rank, "a slice begins somewhere on every axis");
    Require(operands.in(0).dtype == operands.in(1).dtype && operands.in(0).dtype == operands.out(0).dtype,
            "an update has the type of its tensor");
    counts_ = update;
    total_ = update.size();
    offset_ = 0;
    int64_t stride = 1;
    for (size_t axis = x.rank; axis-- > 0; stride *= x[axis]) {
      const int64_t begin = sizes[begin_[axis].entry], last = begin + step_[axis] * (update[axis] - 1);
      Require(total_ == 0 || (begin >= 0 && begin < x[axis] && last >= 0 && last < x[axis]),
              "a slice lies within its tensor");
      offset_ += begin * stride;
      strides_[axis] = step_[axis] * stride;
    }
    return 0;
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    const int64_t size = static_cast<int64_t>(SizeOf(operands.out(0).dtype)), bytes = operands.in(0).bytes();
    const char *from = operands.in(0).as<char>(), *update = operands.in(1).as<char>();
    char* to = operands.out(0).as<char>();
    constexpr int64_t kPart = 1 << 18;
    workspace.Parallel((bytes + kPart - 1) / kPart, [&](int64_t part, int) {
      std::memcpy(to + part * kPart, from + part * kPart, static_cast<size_t>(std::min(kPart, bytes - part * kPart)));
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
  std::vector<SizeRef> begin_;
  std::vector<int64_t> step_;
  Shape counts_;
  std::array<int64_t, kMaxRank> strides_{};
  int64_t offset_ = 0, total_ = 0;
};

const RegisterKernel update("update", [](const Attributes& a) { return std::make_unique<Update>(a); });

}  // namespace
}  // namespace gristmill
