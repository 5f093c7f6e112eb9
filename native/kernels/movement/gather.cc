// Slices of a tensor at indices that are known only while the model runs.
#include <algorithm>
#include <cstring>

#include "core/kernel.h"

namespace gristmill {
namespace {

int64_t IndexAt(const Tensor& indices, int64_t i) {
  switch (indices.dtype) {
    case DType::kI32:
      return indices.as<int32_t>()[i];
    case DType::kI16:
      return indices.as<int16_t>()[i];
    case DType::kU16:
      return indices.as<uint16_t>()[i];
    case DType::kI8:
      return indices.as<int8_t>()[i];
    default:
      return indices.as<uint8_t>()[i];
  }
}

// [D…, n, E…] at [N…] gives [D…, N…, E…]. A negative index counts from the end, unless indices are validated; one that
// is out of range is an error, or is held at the nearest element where `clamps`.
class Gather : public Kernel {
 public:
  explicit Gather(const Attributes& attributes)
      : axis_(static_cast<size_t>(attributes.get<int64_t>("axis"))),
        negative_(attributes.get<int64_t>("negative") != 0),
        clamps_(attributes.get<int64_t>("clamps") != 0) {}

  size_t Configure(const Operands& operands, const SizeTable&, int) override {
    const Shape& from = operands.in(0).shape;
    Require(axis_ < from.rank, "elements are gathered along an axis that is there");
    Require(operands.in(1).dtype != DType::kF16 && operands.in(1).dtype != DType::kF32, "indices are integers");
    outer_ = from.Product(0, axis_);
    size_ = from[axis_];
    width_ = from.Product(axis_ + 1, from.rank) * static_cast<int64_t>(SizeOf(operands.in(0).dtype));
    count_ = operands.in(1).shape.size();
    Require(operands.out(0).bytes() == outer_ * count_ * width_, "a gathered tensor has its size");
    return 0;
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    const char* from = operands.in(0).as<char>();
    char* to = operands.out(0).as<char>();
    const int64_t rows = std::max<int64_t>(1, (int64_t{1} << 15) / std::max<int64_t>(width_, 1));
    auto task = [&](int64_t index, int) {
      for (int64_t row = index * rows; row < std::min(outer_ * count_, (index + 1) * rows); ++row) {
        int64_t place = IndexAt(operands.in(1), row % count_);
        if (negative_ && place < 0 && place >= -size_) place += size_;
        if (place < 0 || place >= size_) {
          if (!clamps_ || size_ == 0) return workspace.Fail("an index to gather at is out of range");
          place = std::clamp<int64_t>(place, 0, size_ - 1);
        }
        std::memcpy(to + row * width_, from + (row / count_ * size_ + place) * width_, static_cast<size_t>(width_));
      }
    };
    workspace.Parallel((outer_ * count_ + rows - 1) / rows, task);
  }

 private:
  size_t axis_;
  bool negative_, clamps_;
  int64_t outer_ = 0, size_ = 0, width_ = 0, count_ = 0;
};

const RegisterKernel gather("gather", [](const Attributes& a) { return std::make_unique<Gather>(a); });

}  // namespace
}  // namespace gristmill
