// Permuting dimensions.
#include <cstring>

#include "core/kernel.h"

namespace gristmill {
namespace {

// out[i…] = in[…] with the dimensions of `in` in the order `perm`.
class Permute : public Kernel {
 public:
  explicit Permute(const Attributes& attributes) : perm_(attributes.get<std::vector<int64_t>>("perm")) {}

  size_t Configure(const Operands& operands, const SizeTable&, int) override {
    const Shape &from = operands.in(0).shape, &to = operands.out(0).shape;
    Require(perm_.size() == from.rank && from.rank == to.rank, "a permutation names every dimension");
    Shape strides;
    int64_t stride = 1;
    for (size_t axis = from.rank; axis-- > 0; stride *= from[axis]) strides[axis] = stride;
    for (size_t axis = 0; axis < to.rank; ++axis) {
      Require(perm_[axis] >= 0 && perm_[axis] < static_cast<int64_t>(from.rank), "a permutation names a dimension");
      Require(to[axis] == from[perm_[axis]], "a permutation changes no size");
      strides_[axis] = strides[perm_[axis]];
    }
    return 0;
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    const Shape& shape = operands.out(0).shape;
    const size_t size = SizeOf(operands.out(0).dtype);
    if (shape.size() == 0) return;
    const char* from = operands.in(0).as<char>();
    char* to = operands.out(0).as<char>();
    const int64_t inner = shape.rank == 0 ? 1 : shape[shape.rank - 1];
    const int64_t inner_stride = shape.rank == 0 ? 1 : strides_[shape.rank - 1];
    auto task = [&](int64_t row, int) {
      int64_t rest = row, offset = 0;
      for (size_t axis = shape.rank == 0 ? 0 : shape.rank - 1; axis-- > 0; rest /= shape[axis]) {
        offset += rest % shape[axis] * strides_[axis];
      }
      char* out = to + row * inner * size;
      if (inner_stride == 1) {
        std::memcpy(out, from + offset * size, inner * size);
        return;
      }
      for (int64_t i = 0; i < inner; ++i) std::memcpy(out + i * size, from + (offset + i * inner_stride) * size, size);
    };
    workspace.Parallel(shape.size() / inner, task);
  }

 private:
  std::vector<int64_t> perm_;
  std::array<int64_t, kMaxRank> strides_{};
};

const RegisterKernel permute("permute", [](const Attributes& a) { return std::make_unique<Permute>(a); });

}  // namespace
}  // namespace gristmill
