// Convolutions and transposed convolutions as matrix products over the pixels under their taps.
#include <algorithm>

#include "kernels/conv/image_rows.h"
#include "kernels/gemm/rows.h"

namespace gristmill {
namespace {

int64_t FloorDiv(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

// x [N, spatial…, C] to [N, spatial…, O]. Inputs: x, if "scaled" a factor for each channel of an image or of all, which a
// 1×1 convolution multiplies x by as it reads it, then the epilogue's operands.
//
// "weight" lists packed matrices [taps·C/groups, O/groups]: one for each group, and for a transposed convolution with
// strides that for each phase. Places p of a transposed result with the same (p + before) mod stride make a phase: they
// meet the same taps, those with (phase - tap·dilation) mod stride = 0, so that each phase is a convolution of its own
// with stride 1 and no zero is multiplied.
class Convolution : public Kernel {
 public:
  explicit Convolution(const Attributes& attributes)
      : windows_(attributes),
        groups_(attributes.get<int64_t>("groups")),
        transposed_(attributes.get<int64_t>("transposed") != 0),
        scaled_(attributes.get<int64_t>("scaled", 0) != 0),
        epilogue_(Epilogue::From(attributes)) {
    const auto list = attributes.prepared<PreparedList>("weight");
    Require(list != nullptr && groups_ > 0, "a convolution needs its weight");
    for (const auto& item : list->items) {
      weights_.push_back(std::dynamic_pointer_cast<PackedMatrix>(item));
      Require(weights_.back() != nullptr, "the weight of a convolution is a list of packed matrices");
    }
    const auto& strides = windows_.strides;
    const int64_t phases = transposed_ ? strides[0] * strides[1] * strides[2] : 1;
    Require(static_cast<int64_t>(weights_.size()) == phases * groups_, "one matrix for each phase and group");
    phases_.resize(static_cast<size_t>(phases));
  }

  size_t Configure(const Operands& operands, const SizeTable& sizes, int threads) override {
    const Image x = Image::Of(operands.in(0).shape), y = Image::Of(operands.out(0).shape);
    if (!transposed_) RequireWindows(y);
    windows_.Configure(sizes);
    out_channels_ = weights_[0]->n * groups_;
    Require(x.batch == y.batch && x.channels % groups_ == 0 && y.channels == out_channels_,
            "the channels of a convolution");
    const auto ones = Spatial({}, 1);
    pointwise_ = !transposed_ && groups_ == 1 && windows_.kernel == ones && windows_.strides == ones &&
                 windows_.before == Spatial({}, 0) && x.sizes == y.sizes;
    if (scaled_) {
      const int64_t factors = operands.in(1).shape.size();
      Require(pointwise_ && operands.in(1).dtype == operands.in(0).dtype, "a 1x1 convolution takes factors");
      Require(factors == x.channels || factors == x.batch * x.channels, "a factor for each channel");
      rows_of_a_factor_ = std::max<int64_t>(factors == x.channels ? x.batch * x.pixels() : x.pixels(), 1);
    }
    size_t scratch = 0;
    room_ = 0;
    flops_ = 0;
    for (size_t i = 0; i < phases_.size(); ++i) {
      Phase& phase = phases_[i];
      phase.grid.batch = x.batch;
      phase.grid.channels = x.channels;
      int64_t number = static_cast<int64_t>(i);
      for (size_t axis = kSpatial; axis-- > 0;) {
        const int64_t stride = transposed_ ? windows_.strides[axis] : 1;
        phase.grid.axes[axis] = AxisOf(axis, x.sizes[axis], y.sizes[axis], number % stride);
        number /= stride;
      }
      const PackedMatrix& weight = *weights_[i * groups_];
      Require(weight.k == phase.grid.taps() * (x.channels / groups_), "the weight fits the windows");
      phase.plan = PlanGemm(phase.grid.rows(), weight.Shape(), threads);
      scratch = std::max(scratch, phase.plan.scratch_per_thread);
      flops_ += 2.0 * static_cast<double>(phase.grid.rows() * weight.k * out_channels_);
    }
    for (const auto& weight : weights_) room_ = std::max(room_, Room(weight->room()));
    return scratch * static_cast<size_t>(threads) + room_;
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    epilogue_.Bind(operands, scaled_ ? 2 : 1, out_channels_);
    Workspace rest = workspace;
    rest.scratch += room_;
    for (size_t i = 0; i < phases_.size(); ++i) {
      const Phase& phase = phases_[i];
      if (phase.grid.rows() == 0) continue;
      const int64_t channels = phase.grid.channels / groups_;
      for (int64_t g = 0; g < groups_; ++g) {
        const Panels weight = weights_[i * groups_ + g]->InOrder(workspace.scratch, workspace);
        if (pointwise_) {
          const DenseRows rows(operands.in(0), weight.k, scaled_ ? &operands.in(1) : nullptr, rows_of_a_factor_);
          RunGemm(phase.plan, rows, weight, epilogue_, operands, rest);
          continue;
        }
        const ImageRows rows(phase.grid, operands.in(0), g * channels, channels);
        RunGemm(phase.plan, rows, weight, epilogue_, operands, rest, g * weight.n);
      }
    }
  }

  double flops() const override { return flops_; }
  double constant_bytes() const override {
    double total = 0;
    for (const auto& weight : weights_) total += static_cast<double>(weight->bytes());
    return total;
  }
  std::string variant() const override {
    const std::string way = scaled_ ? "pointwise, scaled" : pointwise_ ? "pointwise" : transposed_ ? "by phases" : "implicit product";
    return weights_[0]->decoder == nullptr ? way : way + ", " + weights_[0]->form();
  }

 private:
  struct Phase {
    Grid grid;
    GemmPlan plan;
  };

  GridAxis AxisOf(size_t axis, int64_t size, int64_t out_size, int64_t phase) const {
    const int64_t stride = windows_.strides[axis], dilation = windows_.dilations[axis], before = windows_.before[axis];
    GridAxis made;
    made.size = size;
    made.out_size = out_size;
    made.offsets.clear();
    if (!transposed_) {
      made.count = out_size;
      made.start = -before;
      made.step = stride;
      for (int64_t k = 0; k < windows_.kernel[axis]; ++k) made.offsets.push_back(k * dilation);
      return made;
    }
    // Place p of the result takes x[(p + before - k·dilation) / stride]; here p + before = (start + j)·stride + phase.
    for (int64_t k = 0; k < windows_.kernel[axis]; ++k) {
      const int64_t offset = phase - k * dilation;
      if (offset % stride == 0) made.offsets.push_back(offset / stride);
    }
    made.start = -FloorDiv(phase - before, stride);  // the first with p ≥ 0
    made.out_start = made.start * stride + phase - before;
    made.out_step = stride;
    made.count = made.out_start < out_size ? (out_size - 1 - made.out_start) / stride + 1 : 0;
    return made;
  }

  Windows windows_;
  int64_t groups_;
  bool transposed_, scaled_, pointwise_ = false;
  int64_t rows_of_a_factor_ = 1;
  Epilogue epilogue_;
  std::vector<std::shared_ptr<PackedMatrix>> weights_;
  std::vector<Phase> phases_;
  int64_t out_channels_ = 0;
  size_t room_ = 0;  // bytes of working memory for a weight that is brought into order
  double flops_ = 0;
};

const RegisterKernel conv("conv", [](const Attributes& a) { return std::make_unique<Convolution>(a); });

}  // namespace
}  // namespace gristmill
