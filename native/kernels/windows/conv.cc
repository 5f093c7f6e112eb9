// Convolution as a matrix product whose rows are gathered window by window (implicit GEMM).
#include <cstring>

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/rows.h"
#include "kernels/windows/windows.h"

namespace gristmill {
namespace {

// Row m of the matrix holds the window of output pixel m: for each tap its channels, zeros outside the input.
class WindowRows : public RowSource {
 public:
  WindowRows(const Tensor& x, const Windows& windows) : x_(x), w_(windows), size_(SizeOf(x.dtype)) {}

  const float* Rows(int64_t m0, int64_t rows, int64_t k0, int64_t depth, float* to, int64_t& ld) const override {
    for (int64_t i = 0; i < rows; ++i) Row(m0 + i, k0, depth, to + i * ld);
    return to;
  }

 private:
  void Row(int64_t pixel, int64_t k0, int64_t depth, float* to) const {
    int64_t image = 0;
    std::array<int64_t, 3> place;
    w_.Locate(pixel, image, place);
    // Taps along the last axis lie one behind the other unless they are dilated: they are copied as one run.
    const int64_t together = w_.dilation[2] == 1 ? w_.kernel[2] : 1;
    const int64_t run = together * w_.channels;
    for (int64_t k = k0; k < k0 + depth;) {
      const int64_t begin = k % run, count = std::min(run - begin, k0 + depth - k);
      Run(k / run * together, image, place, begin, count, to + (k - k0));
      k += count;
    }
  }

  // Elements [begin, begin + count) of the run that starts at a tap.
  void Run(int64_t tap, int64_t image, const std::array<int64_t, 3>& place, int64_t begin, int64_t count,
           float* to) const {
    const int64_t c = tap % w_.kernel[2], b = tap / w_.kernel[2] % w_.kernel[1], a = tap / w_.kernel[2] / w_.kernel[1];
    const int64_t z = w_.Start(0, place[0]) + a * w_.dilation[0], y = w_.Start(1, place[1]) + b * w_.dilation[1];
    if (z < 0 || z >= w_.in[0] || y < 0 || y >= w_.in[1]) {
      std::memset(to, 0, count * sizeof(float));
      return;
    }
    const int64_t line = ((image * w_.in[0] + z) * w_.in[1] + y) * w_.in[2];
    const int64_t x = w_.Start(2, place[2]) + c * w_.dilation[2];
    // In elements of the line: where the run is, and which part of it is inside.
    const int64_t from = x * w_.channels + begin, end = from + count;
    const int64_t inside = std::max<int64_t>(from, 0), outside = std::min(end, w_.in[2] * w_.channels);
    if (inside >= outside) {
      std::memset(to, 0, count * sizeof(float));
      return;
    }
    std::memset(to, 0, (inside - from) * sizeof(float));
    LoadTile(x_.dtype, x_.as<char>() + (line * w_.channels + inside) * size_, 1, to + (inside - from),
             static_cast<size_t>(outside - inside));
    std::memset(to + (outside - from), 0, (end - outside) * sizeof(float));
  }

  Tensor x_;
  const Windows& w_;
  size_t size_;
};

// x [N, spatial…, C] · weight [taps·C, O]. Inputs: x, then the epilogue's operands.
class Conv : public Kernel {
 public:
  explicit Conv(const Attributes& attributes)
      : attributes_(attributes),
        weight_(attributes.prepared<PackedMatrix>("weight")),
        epilogue_(Epilogue::From(attributes)) {
    Require(weight_ != nullptr, "a convolution needs its weight");
  }

  size_t Configure(const Operands& operands, const SizeTable& sizes, int threads) override {
    const Shape& to = operands.out(0).shape;
    windows_ = Windows::From(attributes_, operands.in(0).shape, to, sizes);
    Require(windows_.taps() * windows_.channels == weight_->k, "the weight does not fit the window");
    Require(to[to.rank - 1] == weight_->n, "the weight does not fit the result");
    plan_ = PlanGemm(windows_.pixels(), *weight_, threads);
    return plan_.scratch_per_thread * static_cast<size_t>(threads);
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    if (windows_.pixels() == 0) return;
    epilogue_.Bind(operands, 1, weight_->n);
    if (pointwise()) {
      RunGemm(plan_, DenseRows(operands.in(0), weight_->k), *weight_, epilogue_, operands, workspace);
    } else {
      RunGemm(plan_, WindowRows(operands.in(0), windows_), *weight_, epilogue_, operands, workspace);
    }
  }

  double flops() const override { return 2.0 * static_cast<double>(windows_.pixels() * weight_->k * weight_->n); }
  double constant_bytes() const override { return static_cast<double>(weight_->bytes()); }
  std::string variant() const override { return pointwise() ? "pointwise" : "implicit GEMM"; }

 private:
  bool pointwise() const { return windows_.taps() == 1 && windows_.in == windows_.out && windows_.before[2] == 0; }

  Attributes attributes_;
  std::shared_ptr<PackedMatrix> weight_;
  Epilogue epilogue_;
  Windows windows_;
  GemmPlan plan_;
};

const RegisterKernel conv("conv", [](const Attributes& a) { return std::make_unique<Conv>(a); });

}  // namespace
}  // namespace gristmill
