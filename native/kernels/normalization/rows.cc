// Softmax and normalisation of rows: runs of elements that lie one behind the other.
//
// A row is widened to float32 once and stays in the cache for all passes over it.
#include <algorithm>
#include <cmath>

#include "core/buffer.h"
#include "kernels/elementwise/tile_program.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/normalization/rows.cc"
#include "simd/foreach_target.h"
#include "simd/sums.h"

GRISTMILL_SIMD_BEGIN

// e^(x - max) / Σ; NaN where every element is -∞, as the formula has it. `row` has room up to a whole vector.
void SoftmaxRow(float* row, size_t count) {
  const F32 d;
  const VF top = hn::Set(d, ExtremeOf(row, count, [](VF a, VF b) { return MaxNaN(a, b); }));
  MapRun(row, row, count, [top](VF x) { return Exp(hn::Sub(x, top)); });
  const VF sum = hn::Set(d, SumOf(row, count, [](VF x) { return x; }));
  MapRun(row, row, count, [sum](VF x) { return hn::Div(x, sum); });
}

// (x - μ) / √(σ² + ε), the variance from the differences: it has no cancellation.
void StandardRow(float* row, size_t count, float epsilon) {
  const F32 d;
  const float n = static_cast<float>(count);
  const VF mean = hn::Set(d, SumOf(row, count, [](VF x) { return x; }) / n);
  MapRun(row, row, count, [mean](VF x) { return hn::Sub(x, mean); });
  const float variance = SumOf(row, count, [](VF x) { return hn::Mul(x, x); }) / n;
  const VF scale = hn::Set(d, std::sqrt(variance + epsilon));
  MapRun(row, row, count, [scale](VF x) { return hn::Div(x, scale); });
}

void ScaleRow(float* row, size_t count, const float* gamma, const float* beta, bool each) {
  const F32 d;
  for (size_t i = 0; i < count; i += Lanes()) {
    auto at = [&](const float* p) {  // unlike the row, operands end where they end
      if (!each) return hn::Set(d, *p);
      return count - i < Lanes() ? LoadFirst(p + i, count - i) : hn::LoadU(d, p + i);
    };
    VF x = hn::LoadU(d, row + i);
    if (gamma != nullptr) x = hn::Mul(x, at(gamma));
    if (beta != nullptr) x = hn::Add(x, at(beta));
    hn::StoreU(x, d, row + i);
  }
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {

HWY_EXPORT(SoftmaxRow);
HWY_EXPORT(StandardRow);
HWY_EXPORT(ScaleRow);

namespace {

// Rows are the last `axes` dimensions together.
class Rows : public Kernel {
 public:
  explicit Rows(const Attributes& attributes)
      : axes_(static_cast<size_t>(attributes.get<int64_t>("axes"))) {}

  size_t Configure(const Operands& operands, const SizeTable&, int threads) override {
    const Shape& shape = operands.in(0).shape;
    Require(axes_ <= shape.rank && shape == operands.out(0).shape, "rows keep their shape");
    width_ = shape.Product(shape.rank - axes_, shape.rank);
    rows_ = width_ == 0 ? 0 : shape.size() / width_;
    per_thread_ = Room(static_cast<size_t>(width_) * sizeof(float));
    return per_thread_ * static_cast<size_t>(threads);
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    if (rows_ == 0) return;
    const Tensor& x = operands.in(0);
    const Tensor& out = operands.out(0);
    const int64_t together = std::max<int64_t>(1, 8192 / width_);
    auto task = [&](int64_t index, int thread) {
      float* row = reinterpret_cast<float*>(workspace.scratch + per_thread_ * static_cast<size_t>(thread));
      for (int64_t r = index * together; r < std::min(rows_, (index + 1) * together); ++r) {
        const int64_t at = r * width_ * static_cast<int64_t>(SizeOf(x.dtype));
        LoadTile(x.dtype, x.as<char>() + at, 1, row, static_cast<size_t>(width_));
        Normalize(row, r, operands);
        StoreTile(out.dtype, row, out.as<char>() + r * width_ * static_cast<int64_t>(SizeOf(out.dtype)),
                  static_cast<size_t>(width_));
      }
    };
    workspace.Parallel((rows_ + together - 1) / together, task);
  }

 protected:
  virtual void Normalize(float* row, int64_t r, const Operands& operands) const = 0;

  int64_t width_ = 0, rows_ = 0;

 private:
  size_t axes_, per_thread_ = 0;
};

class Softmax : public Rows {
 public:
  using Rows::Rows;

 protected:
  void Normalize(float* row, int64_t, const Operands&) const override {
    HWY_DYNAMIC_DISPATCH(SoftmaxRow)(row, static_cast<size_t>(width_));
  }
};

// Inputs: x, gamma, beta (float32, each may be missing): an element for each place in a row, or, where `channels` is
// given, one for each row, in turn.
class Standardize : public Rows {
 public:
  explicit Standardize(const Attributes& attributes)
      : Rows(attributes),
        epsilon_(static_cast<float>(attributes.get<double>("epsilon"))),
        per_row_(attributes.get<int64_t>("per_row") != 0) {}

  size_t Configure(const Operands& operands, const SizeTable& sizes, int threads) override {
    const size_t scratch = Rows::Configure(operands, sizes, threads);
    for (size_t i : {1u, 2u}) {
      if (!operands.given(i)) continue;
      const int64_t count = operands.in(i).shape.size();
      Require(operands.in(i).dtype == DType::kF32, "scale and offset are float32");
      const bool fits = per_row_ ? count > 0 && rows_ % count == 0 : count == width_;
      Require(rows_ == 0 || fits, "scale and offset fit the rows");
    }
    return scratch;
  }

 protected:
  void Normalize(float* row, int64_t r, const Operands& operands) const override {
    HWY_DYNAMIC_DISPATCH(StandardRow)(row, static_cast<size_t>(width_), epsilon_);
    if (!operands.given(1) && !operands.given(2)) return;
    auto of = [&](size_t i) -> const float* {
      if (!operands.given(i)) return nullptr;
      return operands.in(i).as<float>() + (per_row_ ? r % operands.in(i).shape.size() : 0);
    };
    HWY_DYNAMIC_DISPATCH(ScaleRow)(row, static_cast<size_t>(width_), of(1), of(2), !per_row_);
  }

 private:
  float epsilon_;
  bool per_row_;
};

const RegisterKernel softmax("softmax", [](const Attributes& a) { return std::make_unique<Softmax>(a); });
const RegisterKernel standardize("standardize", [](const Attributes& a) { return std::make_unique<Standardize>(a); });

}  // namespace
}  // namespace gristmill
#endif  // HWY_ONCE
