// Reductions along neighbouring dimensions: [outer, n, inner] to [outer, inner].
#include <algorithm>
#include <cmath>

#include "core/buffer.h"
#include "kernels/elementwise/tile_program.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/reduction/reduce.cc"
#include "simd/foreach_target.h"
#include "simd/sums.h"

#ifndef GRISTMILL_REDUCTION_ONCE
#define GRISTMILL_REDUCTION_ONCE
namespace gristmill {
enum class Reduction { kSum, kMean, kMax, kMin, kSumSquare, kL1, kL2 };
}  // namespace gristmill
#endif

GRISTMILL_SIMD_BEGIN

float ReduceRow(Reduction how, const float* x, size_t count) {
  switch (how) {
    case Reduction::kMax:
      return ExtremeOf(x, count, [](VF a, VF b) { return MaxNaN(a, b); });
    case Reduction::kMin:
      return ExtremeOf(x, count, [](VF a, VF b) { return MinNaN(a, b); });
    case Reduction::kSum:
      return SumOf(x, count, [](VF v) { return v; });
    case Reduction::kMean:
      return SumOf(x, count, [](VF v) { return v; }) / static_cast<float>(count);
    case Reduction::kL1:
      return SumOf(x, count, [](VF v) { return hn::Abs(v); });
    case Reduction::kSumSquare:
      return SumOf(x, count, [](VF v) { return hn::Mul(v, v); });
    default:
      return std::sqrt(SumOf(x, count, [](VF v) { return hn::Mul(v, v); }));
  }
}

// total = total ∘ x, element by element.
void Accumulate(Reduction how, const float* x, float* total, size_t count) {
  auto each = [&](auto f) {
    for (size_t i = 0; i < count; i += Lanes()) {
      hn::StoreU(f(hn::LoadU(F32(), total + i), hn::LoadU(F32(), x + i)), F32(), total + i);
    }
  };
  switch (how) {
    case Reduction::kMax:
      return each([](VF a, VF b) { return MaxNaN(a, b); });
    case Reduction::kMin:
      return each([](VF a, VF b) { return MinNaN(a, b); });
    case Reduction::kSum:
    case Reduction::kMean:
      return each([](VF a, VF b) { return hn::Add(a, b); });
    case Reduction::kL1:
      return each([](VF a, VF b) { return hn::Add(a, hn::Abs(b)); });
    default:
      return each([](VF a, VF b) { return hn::MulAdd(b, b, a); });
  }
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {

HWY_EXPORT(ReduceRow);
HWY_EXPORT(Accumulate);

namespace {

Reduction ReductionByName(const std::string& name) {
  static const std::map<std::string, Reduction> names = {
      {"reduce_sum", Reduction::kSum},       {"reduce_mean", Reduction::kMean},
      {"reduce_max", Reduction::kMax},       {"reduce_min", Reduction::kMin},
      {"reduce_sum_square", Reduction::kSumSquare}, {"reduce_l1_norm", Reduction::kL1},
      {"reduce_l2_norm", Reduction::kL2}};
  const auto found = names.find(name);
  if (found == names.end()) throw Error("there is no reduction '" + name + "'");
  return found->second;
}

class Reduce : public Kernel {
 public:
  explicit Reduce(const Attributes& attributes)
      : how_(ReductionByName(attributes.get<std::string>("how"))),
        first_(static_cast<size_t>(attributes.get<int64_t>("first"))),
        last_(static_cast<size_t>(attributes.get<int64_t>("last"))) {}

  size_t Configure(const Operands& operands, const SizeTable&, int threads) override {
    const Shape& shape = operands.in(0).shape;
    Require(first_ <= last_ && last_ <= shape.rank, "reduced dimensions are there");
    outer_ = shape.Product(0, first_);
    count_ = shape.Product(first_, last_);
    inner_ = shape.Product(last_, shape.rank);
    Require(operands.out(0).shape.size() == outer_ * inner_, "a reduction has its size");
    Require(count_ > 0 || (how_ != Reduction::kMax && how_ != Reduction::kMin), "nothing has no greatest element");
    const int64_t width = inner_ == 1 ? count_ : 3 * (kTile + 16);
    per_thread_ = Room(static_cast<size_t>(width) * sizeof(float));
    return per_thread_ * static_cast<size_t>(threads);
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    if (outer_ * inner_ == 0) return;
    auto scratch = [&](int thread) {
      return reinterpret_cast<float*>(workspace.scratch + per_thread_ * static_cast<size_t>(thread));
    };
    if (inner_ == 1) {
      const int64_t together = std::max<int64_t>(1, 8192 / std::max<int64_t>(count_, 1));
      workspace.Parallel((outer_ + together - 1) / together, [&](int64_t index, int thread) {
        for (int64_t r = index * together; r < std::min(outer_, (index + 1) * together); ++r) {
          OneRow(operands, r, scratch(thread));
        }
      });
      return;
    }
    const int64_t columns = static_cast<int64_t>(kTile), blocks = (inner_ + columns - 1) / columns;
    workspace.Parallel(outer_ * blocks, [&](int64_t index, int thread) {
      const int64_t column = index % blocks * columns;
      Columns(operands, index / blocks, column, static_cast<size_t>(std::min(columns, inner_ - column)),
              scratch(thread));
    });
  }

 private:
  static void Load(const Tensor& x, int64_t at, float* to, size_t count) {
    LoadTile(x.dtype, x.as<char>() + at * static_cast<int64_t>(SizeOf(x.dtype)), 1, to, count);
  }
  static void Store(const Tensor& y, int64_t at, const float* from, size_t count) {
    StoreTile(y.dtype, from, y.as<char>() + at * static_cast<int64_t>(SizeOf(y.dtype)), count);
  }

  void OneRow(const Operands& operands, int64_t r, float* row) const {
    Load(operands.in(0), r * count_, row, static_cast<size_t>(count_));
    const float result = HWY_DYNAMIC_DISPATCH(ReduceRow)(how_, row, static_cast<size_t>(count_));
    Store(operands.out(0), r, &result, 1);
  }

  // Sums of 64 rows are added to each other, so that errors grow with 64 + n/64.
  void Columns(const Operands& operands, int64_t outer, int64_t column, size_t width, float* scratch) const {
    constexpr int64_t kRows = 64;
    float *row = scratch, *block = row + kTile + 16, *total = block + kTile + 16;
    const bool extreme = how_ == Reduction::kMax || how_ == Reduction::kMin;
    std::fill(total, total + width, 0.0f);
    for (int64_t r = 0; r < count_; ++r) {
      Load(operands.in(0), (outer * count_ + r) * inner_ + column, row, width);
      if (extreme && r == 0) {
        std::copy(row, row + width, total);
      } else if (extreme) {
        HWY_DYNAMIC_DISPATCH(Accumulate)(how_, row, total, width);
      } else {
        if (r % kRows == 0) std::fill(block, block + width, 0.0f);
        HWY_DYNAMIC_DISPATCH(Accumulate)(how_, row, block, width);
        if (r % kRows == kRows - 1 || r == count_ - 1) {
          HWY_DYNAMIC_DISPATCH(Accumulate)(Reduction::kSum, block, total, width);
        }
      }
    }
    for (size_t i = 0; how_ == Reduction::kMean && i < width; ++i) total[i] /= static_cast<float>(count_);
    for (size_t i = 0; how_ == Reduction::kL2 && i < width; ++i) total[i] = std::sqrt(total[i]);
    Store(operands.out(0), outer * inner_ + column, total, width);
  }

  Reduction how_;
  size_t first_, last_, per_thread_ = 0;
  int64_t outer_ = 0, count_ = 0, inner_ = 0;
};

const RegisterKernel reduce("reduce", [](const Attributes& a) { return std::make_unique<Reduce>(a); });

}  // namespace
}  // namespace gristmill
#endif  // HWY_ONCE
