// Products of activations with a constant matrix: `linear`, `matmul` with a constant right side, 1×1 convolutions.
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/rows.h"

namespace gristmill {
namespace {

// x [M, K] · weight [K, N]. Inputs: x, then the epilogue's operands. All leading dimensions of x are one.
class Linear : public Kernel {
 public:
  explicit Linear(const Attributes& attributes)
      : weight_(attributes.prepared<PackedMatrix>("weight")), epilogue_(Epilogue::From(attributes)) {
    Require(weight_ != nullptr, "a linear kernel needs its weight");
  }

  size_t Configure(const Operands& operands, const SizeTable&, int threads) override {
    const Shape& shape = operands.in(0).shape;
    Require(shape.rank >= 1 && shape[shape.rank - 1] == weight_->k, "the last dimension of 'x' is the weight's");
    m_ = shape.Product(0, shape.rank - 1);
    Require(operands.out(0).shape.size() == m_ * weight_->n, "a product has its size");
    plan_ = PlanGemm(m_, *weight_, threads);
    return plan_.scratch_per_thread * static_cast<size_t>(threads);
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    if (operands.out(0).shape.size() == 0) return;
    epilogue_.Bind(operands, 1, weight_->n);
    const DenseRows rows(operands.in(0), weight_->k);
    RunGemm(plan_, rows, *weight_, epilogue_, operands, workspace);
  }

  double flops() const override { return 2.0 * static_cast<double>(m_ * weight_->k * weight_->n); }
  double constant_bytes() const override { return static_cast<double>(weight_->bytes()); }
  std::string variant() const override { return weight_->form(); }

 private:
  std::shared_ptr<PackedMatrix> weight_;
  Epilogue epilogue_;
  int64_t m_ = 0;
  GemmPlan plan_;
};

const RegisterKernel linear("linear", [](const Attributes& a) { return std::make_unique<Linear>(a); });

}  // namespace
}  // namespace gristmill
