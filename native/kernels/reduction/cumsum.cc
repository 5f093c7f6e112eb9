// Sums of the elements up to each.
#include <algorithm>

#include "core/buffer.h"
#include "kernels/elementwise/tile_program.h"

namespace gristmill {
namespace {

// [outer, n, inner] summed along n: floats in float64, so that each sum is rounded once; integers modulo 2³².
class CumulativeSum : public Kernel {
 public:
  explicit CumulativeSum(const Attributes& attributes)
      : axis_(static_cast<size_t>(attributes.get<int64_t>("axis"))),
        exclusive_(attributes.get<int64_t>("exclusive") != 0),
        reverse_(attributes.get<int64_t>("reverse") != 0) {}

  size_t Configure(const Operands& operands, const SizeTable&, int) override {
    const Tensor &x = operands.in(0), &out = operands.out(0);
    Require(axis_ < x.shape.rank && x.shape == out.shape && x.dtype == out.dtype, "sums up to each keep shape and type");
    Require(x.dtype == DType::kF16 || x.dtype == DType::kF32 || x.dtype == DType::kI32, "sums are of numbers");
    outer_ = x.shape.Product(0, axis_);
    n_ = x.shape[axis_];
    inner_ = x.shape.Product(axis_ + 1, x.shape.rank);
    return 0;
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    const int64_t width = inner_ == 1 ? 1 : kWidth, blocks = (inner_ + width - 1) / width;
    workspace.Parallel(n_ == 0 ? 0 : outer_ * blocks, [&](int64_t index, int) {
      const int64_t outer = index / blocks, first = index % blocks * width, count = std::min(width, inner_ - first);
      const int64_t start = outer * n_ * inner_ + first;
      if (operands.in(0).dtype == DType::kI32) {
        Integers(operands, start, count);
      } else if (inner_ == 1) {
        Row(operands, start);
      } else {
        Columns(operands, start, count);
      }
    });
  }

 private:
  static constexpr int64_t kWidth = 128;

  // The place in order of step i.
  int64_t At(int64_t i) const { return reverse_ ? n_ - 1 - i : i; }

  void Integers(const Operands& operands, int64_t start, int64_t count) const {
    const uint32_t* x = operands.in(0).as<uint32_t>() + start;
    uint32_t* out = operands.out(0).as<uint32_t>() + start;
    for (int64_t c = 0; c < count; ++c) {
      uint32_t sum = 0;
      for (int64_t i = 0; i < n_; ++i) {
        const int64_t at = At(i) * inner_ + c;
        const uint32_t before = sum;
        sum += x[at];
        out[at] = exclusive_ ? before : sum;
      }
    }
  }

  // Replaces elements of a tile by the sums up to them.
  void Add(float* element, double& sum) const {
    const double before = sum;
    sum += static_cast<double>(*element);
    *element = static_cast<float>(exclusive_ ? before : sum);
  }

  static void Load(const Tensor& x, int64_t at, float* tile, int64_t count) {
    LoadTile(x.dtype, x.as<char>() + at * static_cast<int64_t>(SizeOf(x.dtype)), 1, tile, static_cast<size_t>(count));
  }
  static void Store(const Tensor& out, int64_t at, const float* tile, int64_t count) {
    StoreTile(out.dtype, tile, out.as<char>() + at * static_cast<int64_t>(SizeOf(out.dtype)), static_cast<size_t>(count));
  }

  void Row(const Operands& operands, int64_t start) const {
    const int64_t most = static_cast<int64_t>(kTile), tiles = (n_ + most - 1) / most;
    float tile[kTile + 16];
    double sum = 0;
    for (int64_t t = 0; t < tiles; ++t) {
      const int64_t first = (reverse_ ? tiles - 1 - t : t) * most, count = std::min(most, n_ - first);
      Load(operands.in(0), start + first, tile, count);
      for (int64_t i = 0; i < count; ++i) Add(tile + (reverse_ ? count - 1 - i : i), sum);
      Store(operands.out(0), start + first, tile, count);
    }
  }

  void Columns(const Operands& operands, int64_t start, int64_t count) const {
    float row[kWidth + 16];
    double sums[kWidth] = {};
    for (int64_t i = 0; i < n_; ++i) {
      const int64_t at = start + At(i) * inner_;
      Load(operands.in(0), at, row, count);
      for (int64_t c = 0; c < count; ++c) Add(row + c, sums[c]);
      Store(operands.out(0), at, row, count);
    }
  }

  size_t axis_;
  bool exclusive_, reverse_;
  int64_t outer_ = 0, n_ = 0, inner_ = 0;
};

const RegisterKernel cumsum("cumsum", [](const Attributes& a) { return std::make_unique<CumulativeSum>(a); });

}  // namespace
}  // namespace gristmill
