// Element-wise groups over whole tensors, with broadcasting.
#include <algorithm>

#include "kernels/elementwise/tile_program.h"

namespace gristmill {
namespace {

// Inputs broadcast to the shape of the outputs, as NumPy has it. Dimensions that lie one behind the other in every
// operand are taken as one; then tiles of the flat result are shared among the threads.
class Elementwise : public Kernel {
 public:
  explicit Elementwise(const Attributes& attributes) : program_(attributes.prepared<TileProgram>("program")) {
    Require(program_ != nullptr, "an element-wise kernel needs its program");
  }

  size_t Configure(const Operands& operands, const SizeTable&, int) override {
    const Shape& shape = operands.out(0).shape;
    for (const Tensor& out : operands.outputs) Require(out.shape == shape, "results of a group have one shape");
    const size_t inputs = operands.inputs.size();
    Require(static_cast<int>(inputs) == program_->inputs, "the number of operands of a group");
    std::vector<std::vector<int64_t>> strides(inputs);
    for (size_t i = 0; i < inputs; ++i) strides[i] = Broadcast(operands.in(i).shape, shape);
    Collapse(shape, strides);
    total_ = shape.size();
    return 0;
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    const int64_t tiles = (total_ + kTile - 1) / kTile;
    // A few tiles a task: enough to be worth sharing, few enough to share evenly.
    const int64_t per_task = std::max<int64_t>(1, std::min<int64_t>(16, tiles / (4 * workspace.threads)));
    auto task = [&](int64_t index, int) {
      thread_local TileRegisters registers;
      for (int64_t tile = index * per_task; tile < std::min(tiles, (index + 1) * per_task); ++tile) {
        RunOne(operands, tile * static_cast<int64_t>(kTile), registers);
      }
    };
    workspace.Parallel((tiles + per_task - 1) / per_task, task);
  }

  double flops() const override { return static_cast<double>(total_) * static_cast<double>(program_->steps.size()); }

 private:
  static std::vector<int64_t> Broadcast(const Shape& from, const Shape& to) {
    Require(from.rank <= to.rank, "an operand has more dimensions than the result");
    std::vector<int64_t> strides(to.rank, 0);
    int64_t stride = 1;
    for (size_t i = 0; i < from.rank; ++i) {
      const size_t axis = from.rank - 1 - i, place = to.rank - 1 - i;
      Require(from[axis] == to[place] || from[axis] == 1, "operands do not broadcast to the result");
      strides[place] = from[axis] == 1 ? 0 : stride;
      stride *= from[axis];
    }
    return strides;
  }

  void Collapse(const Shape& shape, const std::vector<std::vector<int64_t>>& strides) {
    dims_.clear();
    strides_.assign(strides.size(), {});
    for (size_t axis = 0; axis < shape.rank; ++axis) {
      if (shape[axis] == 1) continue;
      bool joined = !dims_.empty();
      for (size_t i = 0; joined && i < strides.size(); ++i) {
        joined = strides_[i].back() == strides[i][axis] * shape[axis];
      }
      if (joined) {
        dims_.back() *= shape[axis];
        for (size_t i = 0; i < strides.size(); ++i) strides_[i].back() = strides[i][axis];
      } else {
        dims_.push_back(shape[axis]);
        for (size_t i = 0; i < strides.size(); ++i) strides_[i].push_back(strides[i][axis]);
      }
    }
    if (dims_.empty()) {
      dims_.push_back(1);
      for (auto& list : strides_) list.push_back(0);
    }
  }

  // Loads elements [start, start + count) of an operand, row by row of the innermost dimension.
  void Load(const Tensor& tensor, const std::vector<int64_t>& strides, int64_t start, size_t count, float* to) const {
    const size_t inner = dims_.size() - 1;
    const char* data = tensor.as<char>();
    const size_t size = SizeOf(tensor.dtype);
    size_t done = 0;
    while (done < count) {
      const int64_t flat = start + static_cast<int64_t>(done);
      int64_t rest = flat / dims_[inner], offset = flat % dims_[inner] * strides[inner];
      const size_t part = std::min<size_t>(count - done, static_cast<size_t>(dims_[inner] - flat % dims_[inner]));
      for (size_t axis = inner; axis-- > 0; rest /= dims_[axis]) offset += rest % dims_[axis] * strides[axis];
      LoadTile(tensor.dtype, data + offset * size, strides[inner], to + done, part);
      done += part;
    }
  }

  void RunOne(const Operands& operands, int64_t start, TileRegisters& registers) const {
    const size_t count = static_cast<size_t>(std::min<int64_t>(kTile, total_ - start));
    for (size_t i = 0; i < operands.inputs.size(); ++i) {
      registers.value[i] = registers.storage[i];
      Load(operands.in(i), strides_[i], start, count, registers.storage[i]);
    }
    for (int r = program_->inputs; r < program_->registers; ++r) registers.value[r] = registers.storage[r];
    RunTile(*program_, registers.value, count);
    for (size_t o = 0; o < operands.outputs.size(); ++o) {
      const Tensor& out = operands.out(o);
      StoreTile(out.dtype, registers.value[program_->outputs[o]], out.as<char>() + start * SizeOf(out.dtype), count);
    }
  }

  std::shared_ptr<TileProgram> program_;
  int64_t total_ = 0;
  std::vector<int64_t> dims_;
  std::vector<std::vector<int64_t>> strides_;
};

const RegisterKernel elementwise("elementwise", [](const Attributes& a) { return std::make_unique<Elementwise>(a); });

}  // namespace
}  // namespace gristmill
