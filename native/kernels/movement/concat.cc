// Tensors one behind the other along an axis.
#include <algorithm>
#include <cstring>

#include "core/kernel.h"

namespace gristmill {
namespace {

class Concat : public Kernel {
 public:
  explicit Concat(const Attributes& attributes) : axis_(static_cast<size_t>(attributes.get<int64_t>("axis"))) {}

  size_t Configure(const Operands& operands, const SizeTable&, int) override {
    const Shape& to = operands.out(0).shape;
    Require(axis_ < to.rank, "tensors are joined along an axis that they have");
    outer_ = to.Product(0, axis_);
    widths_.clear();
    int64_t joined = 0;
    for (const Tensor& part : operands.inputs) {
      const Shape& from = part.shape;
      Require(from.rank == to.rank && part.dtype == operands.out(0).dtype, "joined tensors are of one kind");
      for (size_t i = 0; i < to.rank; ++i) Require(i == axis_ || from[i] == to[i], "joined tensors differ in one size");
      joined += from[axis_];
      widths_.push_back(from.Product(axis_, from.rank) * static_cast<int64_t>(SizeOf(part.dtype)));
    }
    Require(joined == to[axis_], "joined tensors fill the result");
    return 0;
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    int64_t width = 0;
    for (int64_t part : widths_) width += part;
    // Enough rows a task to be worth sharing.
    const int64_t rows = std::max<int64_t>(1, (int64_t{1} << 16) / std::max<int64_t>(width, 1));
    auto task = [&](int64_t index, int) {
      for (int64_t row = index * rows; row < std::min(outer_, (index + 1) * rows); ++row) {
        char* to = operands.out(0).as<char>() + row * width;
        for (size_t i = 0; i < widths_.size(); ++i) {
          if (widths_[i] != 0) std::memcpy(to, operands.in(i).as<char>() + row * widths_[i], widths_[i]);
          to += widths_[i];
        }
      }
    };
    workspace.Parallel((outer_ + rows - 1) / rows, task);
  }

 private:
  size_t axis_;
  int64_t outer_ = 0;
  std::vector<int64_t> widths_;
};

const RegisterKernel concat("concat", [](const Attributes& a) { return std::make_unique<Concat>(a); });

}  // namespace
}  // namespace gristmill
