// Slices of a tensor, read or replaced at indices that are known only while the model runs.
#include <algorithm>
#include <cstring>
#include <limits>

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

// What reading and writing along an axis share: [D…, n, E…] at indices [N…]. A negative index counts from the end, unless
// indices are validated; what becomes of one that is out of range is the kernel's affair where `forgives`, else an error.
class Indexed : public Kernel {
 public:
  explicit Indexed(const Attributes& attributes)
      : axis_(static_cast<size_t>(attributes.get<int64_t>("axis"))),
        negative_(attributes.get<int64_t>("negative") != 0),
        forgives_(attributes.get<int64_t>("forgives") != 0) {}

  // `part` are the gathered slices, or those to be written.
  size_t Measure(const Tensor& whole, const Tensor& indices, const Tensor& part) {
    Require(axis_ < whole.shape.rank, "slices lie along an axis that is there");
    Require(indices.dtype != DType::kF16 && indices.dtype != DType::kF32, "indices are integers");
    Require(whole.dtype == part.dtype, "slices have the type of their tensor");
    outer_ = whole.shape.Product(0, axis_);
    size_ = whole.shape[axis_];
    width_ = whole.shape.Product(axis_ + 1, whole.shape.rank) * static_cast<int64_t>(SizeOf(whole.dtype));
    count_ = indices.shape.size();
    Require(part.bytes() == outer_ * count_ * width_, "slices have their size");
    return 0;
  }

 protected:
  bool Good(int64_t place) const { return place >= 0 && place < size_; }

  // Index i, counted from the front.
  int64_t Place(const Tensor& indices, int64_t i) const {
    const int64_t place = IndexAt(indices, i);
    return negative_ && place < 0 && place >= -size_ ? place + size_ : place;
  }

  size_t axis_;
  bool negative_, forgives_;
  int64_t outer_ = 0, size_ = 0, width_ = 0, count_ = 0;
};

// Inputs: x, indices. An index that is out of range is held at the nearest element where the kernel forgives.
class Gather : public Indexed {
 public:
  using Indexed::Indexed;

  size_t Configure(const Operands& operands, const SizeTable&, int) override {
    return Measure(operands.in(0), operands.in(1), operands.out(0));
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    const char* from = operands.in(0).as<char>();
    char* to = operands.out(0).as<char>();
    const int64_t rows = std::max<int64_t>(1, (int64_t{1} << 15) / std::max<int64_t>(width_, 1));
    auto task = [&](int64_t index, int) {
      for (int64_t row = index * rows; row < std::min(outer_ * count_, (index + 1) * rows); ++row) {
        int64_t place = Place(operands.in(1), row % count_);
        if (!Good(place)) {
          if (!forgives_ || size_ == 0) return workspace.Fail("an index to gather at is out of range");
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
};

// Inputs: data, indices, updates. Slices of the data are replaced, by the last update where an index comes twice; one that
// is out of range is passed over where the kernel forgives. With two more results, which are what was there before and
// where (int32, -1 for nowhere), the first is the data itself and only those slices are touched.
class Scatter : public Indexed {
 public:
  using Indexed::Indexed;

  size_t Configure(const Operands& operands, const SizeTable&, int) override {
    const Tensor &data = operands.in(0), &out = operands.out(0);
    Require(data.shape == out.shape && data.dtype == out.dtype, "replacing slices keeps shape and type");
    in_place_ = operands.outputs.size() > 1;
    if (in_place_) {
      Require(operands.outputs.size() == 3 && operands.out(1).bytes() == operands.in(2).bytes() &&
                  operands.out(2).dtype == DType::kI32 && operands.out(2).shape.size() == operands.in(1).shape.size(),
              "what was there before is kept");
      Require(data.shape[axis_] <= std::numeric_limits<int32_t>::max(), "places are 32-bit integers");
    }
    return Measure(data, operands.in(1), operands.in(2));
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    const char *from = operands.in(0).as<char>(), *updates = operands.in(2).as<char>();
    const Tensor& indices = operands.in(1);
    for (int64_t i = 0; i < count_; ++i) {  // before anything is written
      const int64_t place = Place(indices, i);
      if (!Good(place) && !forgives_) return workspace.Fail("an index to write at is out of range");
      if (in_place_) operands.out(2).as<int32_t>()[i] = Good(place) ? static_cast<int32_t>(place) : -1;
    }
    char *to = operands.out(0).as<char>(), *before = in_place_ ? operands.out(1).as<char>() : nullptr;
    const int64_t slice = size_ * width_, touched = std::max<int64_t>(1, in_place_ ? count_ * width_ : slice);
    const int64_t together = std::max<int64_t>(1, (int64_t{1} << 15) / touched);  // enough to be worth sharing
    workspace.Parallel((outer_ + together - 1) / together, [&](int64_t task, int) {
      for (int64_t outer = task * together; outer < std::min(outer_, (task + 1) * together); ++outer) {
        if (!in_place_) std::memcpy(to + outer * slice, from + outer * slice, static_cast<size_t>(slice));
        for (int64_t i = 0; i < count_; ++i) {
          const int64_t place = Place(indices, i), at = (outer * count_ + i) * width_;
          if (!Good(place)) continue;
          char* row = to + outer * slice + place * width_;
          if (in_place_) std::memcpy(before + at, row, static_cast<size_t>(width_));
          std::memcpy(row, updates + at, static_cast<size_t>(width_));
        }
      }
    });
  }

  // The last first: where an index came twice, the first has what the data held.
  void Undo(const Operands& operands) override {
    if (!in_place_) return;
    const char* before = operands.out(1).as<char>();
    const int32_t* places = operands.out(2).as<int32_t>();
    for (int64_t outer = 0; outer < outer_; ++outer) {
      for (int64_t i = count_; i-- > 0;) {
        if (places[i] < 0) continue;
        std::memcpy(operands.out(0).as<char>() + (outer * size_ + places[i]) * width_,
                    before + (outer * count_ + i) * width_, static_cast<size_t>(width_));
      }
    }
  }

  double operand_bytes(const Operands& operands) const override {
    const double updates = 2.0 * static_cast<double>(operands.in(2).bytes());
    return in_place_ ? 2 * updates : updates + 2.0 * static_cast<double>(operands.in(0).bytes());
  }
  std::string variant() const override { return in_place_ ? "in place" : ""; }

 private:
  bool in_place_ = false;
};

const RegisterKernel scatter("scatter", [](const Attributes& a) { return std::make_unique<Scatter>(a); });
const RegisterKernel gather("gather", [](const Attributes& a) { return std::make_unique<Gather>(a); });

}  // namespace
}  // namespace gristmill
