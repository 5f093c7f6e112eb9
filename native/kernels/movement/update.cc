// A tensor with one slice of it replaced, as another tensor or in place.
#include <algorithm>
#include <cstring>

#include "core/kernel.h"

namespace gristmill {
namespace {

// out = x, but out[begin + step·i] = update[i]. Inputs: x, update. With a second result, which is what was there before,
// out is x itself and only the slice is touched.
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
    in_place_ = InPlace(operands);
    Require(!in_place_ || operands.out(1).bytes() == operands.in(1).bytes(), "what was there before is kept");
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
    const Tensor &x = operands.in(0), &out = operands.out(0);
    const char* update = operands.in(1).as<char>();
    if (InPlace(operands)) {
      char* before = operands.out(1).as<char>();
      EachRow(out, [&](char* row, int64_t at, int64_t bytes) {
        std::memcpy(before + at, row, static_cast<size_t>(bytes));
        std::memcpy(row, update + at, static_cast<size_t>(bytes));
      });
      return;
    }
    constexpr int64_t kPart = 1 << 18;
    const int64_t bytes = x.bytes();
    workspace.Parallel((bytes + kPart - 1) / kPart, [&](int64_t part, int) {
      std::memcpy(out.as<char>() + part * kPart, x.as<char>() + part * kPart,
                  static_cast<size_t>(std::min(kPart, bytes - part * kPart)));
    });
    EachRow(out, [&](char* row, int64_t at, int64_t size) { std::memcpy(row, update + at, static_cast<size_t>(size)); });
  }

  void Undo(const Operands& operands) override {
    if (!InPlace(operands)) return;
    const char* before = operands.out(1).as<char>();
    EachRow(operands.out(0),
            [&](char* row, int64_t at, int64_t bytes) { std::memcpy(row, before + at, static_cast<size_t>(bytes)); });
  }

  double operand_bytes(const Operands& operands) const override {
    const double update = 2.0 * static_cast<double>(operands.in(1).bytes());
    return InPlace(operands) ? 2 * update : update + 2.0 * static_cast<double>(operands.in(0).bytes());
  }
  std::string variant() const override { return in_place_ ? "in place" : ""; }

 private:
  static bool InPlace(const Operands& operands) { return operands.outputs.size() > 1; }

  // Calls fn(where, at, bytes) for each run of elements that lie one behind the other in the tensor: bytes `at` and on
  // of the update.
  template <typename F>
  void EachRow(const Tensor& tensor, const F& fn) const {
    if (total_ == 0) return;
    const int64_t size = static_cast<int64_t>(SizeOf(tensor.dtype));
    const size_t rank = counts_.rank;
    const bool dense = rank != 0 && strides_[rank - 1] == 1;
    const size_t outer = dense ? rank - 1 : rank;
    const int64_t inner = dense ? counts_[rank - 1] : 1;
    for (int64_t row = 0; row < total_ / inner; ++row) {
      int64_t rest = row, place = offset_;
      for (size_t axis = outer; axis-- > 0; rest /= counts_[axis]) place += rest % counts_[axis] * strides_[axis];
      fn(tensor.as<char>() + place * size, row * inner * size, inner * size);
    }
  }

  std::vector<SizeRef> begin_;
  std::vector<int64_t> step_;
  Shape counts_;
  std::array<int64_t, kMaxRank> strides_{};
  int64_t offset_ = 0, total_ = 0;
  bool in_place_ = false;
};

const RegisterKernel update("update", [](const Attributes& a) { return std::make_unique<Update>(a); });

}  // namespace
}  // namespace gristmill
