// Products of two activations, a matrix for each place of the leading dimensions.
#include <algorithm>
#include <vector>

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/rows.h"

namespace gristmill {
namespace {

// Rows of a matrix that lies transposed: element [m, k] is at k·M + m.
class TransposedRows : public RowSource {
 public:
  TransposedRows(DType dtype, const char* data, int64_t m) : dtype_(dtype), data_(data), m_(m) {}

  const float* Rows(int64_t m0, int64_t rows, int64_t k0, int64_t depth, float* to, int64_t& ld) const override {
    const int64_t size = static_cast<int64_t>(SizeOf(dtype_));
    float column[kRun + 16];
    for (int64_t k = 0; k < depth; ++k) {
      for (int64_t first = 0; first < rows; first += kRun) {
        const int64_t count = std::min(kRun, rows - first);
        LoadTile(dtype_, data_ + ((k0 + k) * m_ + m0 + first) * size, 1, column, static_cast<size_t>(count));
        for (int64_t i = 0; i < count; ++i) to[(first + i) * ld + k] = column[i];
      }
    }
    return to;
  }

 private:
  static constexpr int64_t kRun = 128;
  DType dtype_;
  const char* data_;
  int64_t m_;
};

// x [B…, M, K] · y [B…, K, N]; leading dimensions broadcast. Inputs: x, y, then the epilogue's operands. The right sides
// are packed first, as float32; then all products' tasks are shared.
class BatchedMatmul : public Kernel {
 public:
  explicit BatchedMatmul(const Attributes& attributes)
      : transpose_x_(attributes.get<int64_t>("transpose_x") != 0),
        transpose_y_(attributes.get<int64_t>("transpose_y") != 0),
        epilogue_(Epilogue::From(attributes)) {}

  size_t Configure(const Operands& operands, const SizeTable&, int threads) override {
    const Shape &x = operands.in(0).shape, &y = operands.in(1).shape, &out = operands.out(0).shape;
    Require(x.rank >= 2 && y.rank >= 2 && out.rank >= x.rank && out.rank >= y.rank, "products are of matrices");
    m_ = x[x.rank - (transpose_x_ ? 1 : 2)];
    k_ = x[x.rank - (transpose_x_ ? 2 : 1)];
    n_ = y[y.rank - (transpose_y_ ? 2 : 1)];
    Require(y[y.rank - (transpose_y_ ? 1 : 2)] == k_, "the inner sizes of a product are one");
    Require(out[out.rank - 2] == m_ && out[out.rank - 1] == n_, "a product has its size");
    left_ = Places(x, out);
    right_ = Places(y, out);
    right_count_ = y.Product(0, y.rank - 2);
    shape_ = {k_, n_, PanelWidth()};
    // Few rows of many products: a product is the task.
    plan_ = PlanGemm(m_, shape_, static_cast<int64_t>(left_.size()) >= 4 * threads ? 1 : threads, false);
    packed_ = Room(shape_.size());
    return packed_ * static_cast<size_t>(right_count_) + plan_.scratch_per_thread * static_cast<size_t>(threads);
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    if (left_.empty() || m_ == 0 || n_ == 0) return;
    const Tensor &x = operands.in(0), &y = operands.in(1);
    epilogue_.Bind(operands, 2, n_);
    char* panels = workspace.scratch;
    const int64_t each = shape_.panels(), y_bytes = k_ * n_ * static_cast<int64_t>(SizeOf(y.dtype));
    workspace.Parallel(right_count_ * each, [&](int64_t index, int) {
      const int64_t which = index / each, panel = index % each;
      const auto source = MatrixSource::Of(y.dtype, y.as<char>() + which * y_bytes, k_, n_, transpose_y_ ? 1 : n_,
                                           transpose_y_ ? k_ : 1);
      PackPanels(source, panel, panel + 1, reinterpret_cast<float*>(panels + packed_ * static_cast<size_t>(which)));
    });
    char* scratch = panels + packed_ * static_cast<size_t>(right_count_);
    const int64_t tasks = plan_.tasks(), x_bytes = m_ * k_ * static_cast<int64_t>(SizeOf(x.dtype));
    workspace.Parallel(static_cast<int64_t>(left_.size()) * tasks, [&](int64_t index, int thread) {
      const size_t product = static_cast<size_t>(index / tasks);
      const Panels right = shape_.Placed(panels + packed_ * static_cast<size_t>(right_[product]));
      Tensor matrix = x;
      matrix.data = x.as<char>() + left_[product] * x_bytes;
      char* own = scratch + plan_.scratch_per_thread * static_cast<size_t>(thread);
      const int64_t row = static_cast<int64_t>(product) * m_;
      auto run = [&](const RowSource& rows) {
        RunGemmTask(plan_, index % tasks, own, nullptr, rows, right, epilogue_, operands, row, 0);
      };
      if (transpose_x_) {
        run(TransposedRows(x.dtype, matrix.as<char>(), m_));
      } else {
        run(DenseRows(matrix, k_));
      }
    });
  }

  double flops() const override { return 2.0 * static_cast<double>(left_.size()) * static_cast<double>(m_ * k_ * n_); }

 private:
  // For each product, which matrix of the operand it takes.
  static std::vector<int64_t> Places(const Shape& from, const Shape& to) {
    const size_t leading = to.rank - 2, lacking = to.rank - from.rank;
    std::vector<int64_t> places(static_cast<size_t>(to.Product(0, leading)));
    for (size_t p = 0; p < places.size(); ++p) {
      int64_t rest = static_cast<int64_t>(p), stride = 1, place = 0;
      for (size_t axis = leading; axis-- > 0; rest /= to[axis]) {
        if (axis < lacking) continue;
        const int64_t size = from[axis - lacking];
        Require(size == to[axis] || size == 1, "leading sizes of a product broadcast");
        if (size != 1) place += rest % to[axis] * stride;
        stride *= size;
      }
      places[p] = place;
    }
    return places;
  }

  bool transpose_x_, transpose_y_;
  Epilogue epilogue_;
  int64_t m_ = 0, k_ = 0, n_ = 0, right_count_ = 0;
  std::vector<int64_t> left_, right_;
  Panels shape_;
  GemmPlan plan_;
  size_t packed_ = 0;
};

const RegisterKernel matmul("matmul", [](const Attributes& a) { return std::make_unique<BatchedMatmul>(a); });

}  // namespace
}  // namespace gristmill
