// Columns of a packed matrix at indices that are known only while the model runs: the rows of an embedding whose table is
// also the weight of a product, and so is kept once.
#include <algorithm>

#include "kernels/gemm/pack.h"
#include "kernels/movement/indices.h"

namespace gristmill {
namespace {

template <typename T>
void CopyColumn(const Panels& matrix, int64_t column, T* to) {
  const T* from = reinterpret_cast<const T*>(matrix.panel(column / matrix.width)) + column % matrix.width;
  for (int64_t k = 0; k < matrix.k; ++k) to[k] = from[k * matrix.width];
}

// Inputs: indices. The result's last dimension is the matrix's K. An index that is out of range is held at the nearest
// column where the kernel forgives, else it is an error.
class Columns : public Kernel {
 public:
  explicit Columns(const Attributes& attributes)
      : matrix_(attributes.prepared<PackedMatrix>("matrix")),
        negative_(attributes.get<int64_t>("negative") != 0),
        forgives_(attributes.get<int64_t>("forgives") != 0) {
    Require(matrix_ != nullptr && matrix_->decoder == nullptr, "columns are of a matrix that is stored");
  }

  size_t Configure(const Operands& operands, const SizeTable&, int) override {
    const Tensor& to = operands.out(0);
    count_ = operands.in(0).shape.size();
    Require(to.dtype == matrix_->dtype && to.shape.size() == count_ * matrix_->k, "columns have their type and size");
    return 0;
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    workspace.Parallel(count_, [&](int64_t i, int) {
      int64_t index = IndexAt(operands.in(0), i);
      if (negative_ && index < 0) index += matrix_->n;
      const bool good = index >= 0 && index < matrix_->n;
      if (!good && (!forgives_ || matrix_->n == 0)) return workspace.Fail("an index to gather at is out of range");
      if (!good) index = std::clamp<int64_t>(IndexAt(operands.in(0), i), 0, matrix_->n - 1);
      if (matrix_->dtype == DType::kF16) {
        CopyColumn(*matrix_, index, operands.out(0).as<uint16_t>() + i * matrix_->k);
      } else {
        CopyColumn(*matrix_, index, operands.out(0).as<float>() + i * matrix_->k);
      }
    });
  }

  double operand_bytes(const Operands& operands) const override {
    return static_cast<double>(2 * operands.out(0).bytes() + operands.in(0).bytes());
  }

 private:
  std::shared_ptr<PackedMatrix> matrix_;
  bool negative_, forgives_;
  int64_t count_ = 0;
};

const RegisterKernel columns("columns", [](const Attributes& a) { return std::make_unique<Columns>(a); });

}  // namespace
}  // namespace gristmill
