// Slices of a tensor, read or replaced at indices that are known only while the model runs.
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

// Counts a negative index from the end where that is allowed.
int64_t Counted(int64_t place, int64_t size, bool negative) {
  return negative && place < 0 && place >= -size ? place + size : place;
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
        int64_t place = Counted(IndexAt(operands.in(1), row % count_), size_, negative_);
        if (place < 0 || place >= size_) {
          if (!clamps_ || size_ == 0) return workspace.Fail("an index to gather at is out of range");
          place = std::clamp<int64_t>(place, 0, size_ - 1);
        }
        std::memcpy(to + row * width_, from + (row / count_ * size_ + place) * width_, static_cast<size_t>(width_));
      }
    };
    workspace.Parallel((outer_ * count_ + rows - 1) / rows, task);
  }

  double operand_bytes(const Operands& operands) const override {
    return static_cast<double>(2 * operands.out(0).bytes() + operands.in(1).bytes());
  }

 private:
  size_t axis_;
  bool negative_, clamps_;
  int64_t outer_ = 0, size_ = 0, width_ = 0, count_ = 0;
};

// data [D…, n, E…] with the slices at indices [N…] replaced by those of updates [D…, N…, E…], the last one where an index
// comes twice. One that is out of range is an error, or is passed over where `drops`. Inputs: data, indices, updates.
class Scatter : public Kernel {
 public:
  explicit Scatter(const Attributes& attributes)
      : axis_(static_cast<size_t>(attributes.get<int64_t>("axis"))),
        negative_(attributes.get<int64_t>("negative") != 0),
        drops_(attributes.get<int64_t>("drops") != 0) {}

  size_t Configure(const Operands& operands, const SizeTable&, int) override {
    const Shape& data = operands.in(0).shape;
    Require(axis_ < data.rank && data == operands.out(0).shape, "slices are replaced along an axis that is there");
    Require(operands.in(1).dtype == DType::kI32, "indices are integers");
    Require(operands.in(0).dtype == operands.in(2).dtype && operands.in(0).dtype == operands.out(0).dtype,
            "updates have the type of their tensor");
    outer_ = data.Product(0, axis_);
    size_ = data[axis_];
    width_ = data.Product(axis_ + 1, data.rank) * static_cast<int64_t>(SizeOf(operands.in(0).dtype));
    count_ = operands.in(1).shape.size();
    Require(operands.in(2).bytes() == outer_ * count_ * width_, "updates have their size");
    return 0;
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    const char *from = operands.in(0).as<char>(), *updates = operands.in(2).as<char>();
    char* to = operands.out(0).as<char>();
    const int64_t slice = size_ * width_;
    workspace.Parallel(outer_, [&](int64_t outer, int) {
      std::memcpy(to + outer * slice, from + outer * slice, static_cast<size_t>(slice));
      for (int64_t i = 0; i < count_; ++i) {
        const int64_t place = Counted(operands.in(1).as<int32_t>()[i], size_, negative_);
        if (place >= 0 && place < size_) {
          std::memcpy(to + outer * slice + place * width_, updates + (outer * count_ + i) * width_,
                      static_cast<size_t>(width_));
        } else if (!drops_) {
          return workspace.Fail("an index to write at is out of range");
        }
      }
    });
  }

 private:
  size_t axis_;
  bool negative_, drops_;
  int64_t outer_ = 0, size_ = 0, width_ = 0, count_ = 0;
};

const RegisterKernel scatter("scatter", [](const Attributes& a) { return std::make_unique<Scatter>(a); });
const RegisterKernel gather("gather", [](const Attributes& a) { return std::make_unique<Gather>(a); });

}  // namespace
}  // namespace gristmill
