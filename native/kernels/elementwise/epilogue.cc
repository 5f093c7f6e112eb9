#include "kernels/elementwise/epilogue.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/elementwise/epilogue.cc"
#include "simd/foreach_target.h"
#include "simd/for_half.h"

#ifndef GRISTMILL_EPILOGUE_ONCE
#define GRISTMILL_EPILOGUE_ONCE
namespace gristmill {

// Rows to be finished in one pass: out = activation(values + bias + added).
struct OnePassRows {
  const float* values;
  int64_t ld;
  const float* bias;  // one for each column
  DType added_type;
  const char* added;  // nullptr when there is nothing to add
  DType out_type;
  char* out;
  int64_t pitch;  // elements between rows of `added` and of `out`
  int64_t rows;
  size_t count;
};

}  // namespace gristmill
#endif

GRISTMILL_SIMD_BEGIN

template <typename Added, typename Out, typename Act>
HWY_INLINE void FinishInOnePass(const OnePassRows& r, const Act& act) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(Lanes()), several = kSeveral, count = static_cast<int64_t>(r.count);
  const int64_t rows = r.rows, ld = r.ld, pitch = r.pitch;
  if (r.added == nullptr && count <= 4 * lanes && count % lanes == 0) {  // narrow rows: one column of vectors after the other
    for (int64_t i = 0; i < count; i += lanes) {
      const VF bias = hn::LoadU(d, r.bias + i);
      const float* HWY_RESTRICT from = r.values + i;
      Out* HWY_RESTRICT to = reinterpret_cast<Out*>(r.out) + i;
      int64_t row = 0;
      for (; row + several <= rows; row += several, from += several * ld, to += several * pitch) {
        StoreSeveral(act(Add(LoadSeveral<kSeveral>(from, ld), bias)), to, pitch);
      }
      for (; row < rows; ++row, from += ld, to += pitch) StoreF(act(hn::Add(hn::LoadU(d, from), bias)), to);
    }
    return;
  }
  const float* HWY_RESTRICT bias = r.bias;
  for (int64_t row = 0; row < rows; ++row) {
    const float* HWY_RESTRICT from = r.values + row * ld;
    const Added* HWY_RESTRICT added = r.added == nullptr ? nullptr : reinterpret_cast<const Added*>(r.added) + row * pitch;
    Out* HWY_RESTRICT to = reinterpret_cast<Out*>(r.out) + row * pitch;
    int64_t i = 0;
    for (; i + several * lanes <= count; i += several * lanes) {
      auto sum = Add(LoadSeveral<kSeveral>(from + i), LoadSeveral<kSeveral>(bias + i));
      if (added != nullptr) sum = Add(sum, LoadSeveral<kSeveral>(added + i));
      StoreSeveral(act(sum), to + i);
    }
    for (; i < count; i += lanes) {
      VF sum = hn::Add(hn::LoadU(d, from + i), hn::LoadU(d, bias + i));  // both have room
      const size_t left = static_cast<size_t>(count - i);
      if (added != nullptr) sum = hn::Add(sum, left >= Lanes() ? LoadF(added + i) : LoadFirst(added + i, left));
      left >= Lanes() ? StoreF(act(sum), to + i) : StoreFirst(act(sum), to + i, left);
    }
  }
}

template <typename Act>
HWY_INLINE void FinishTyped(const OnePassRows& r, const Act& act) {
  const bool half_added = r.added_type == DType::kF16;
  if (r.out_type == DType::kF16) {
    half_added ? FinishInOnePass<half, half>(r, act) : FinishInOnePass<float, half>(r, act);
  } else {
    half_added ? FinishInOnePass<half, float>(r, act) : FinishInOnePass<float, float>(r, act);
  }
}

void OnePass(const OnePassRows& r, const OnePassForm& form) {
  const F32 d;
  const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f), p = hn::Set(d, form.p), q = hn::Set(d, form.q);
  auto between = [](VF x, VF low, VF high) { return MinWith(MaxWith(x, low), high); };
  switch (form.activation) {
    case TileOp::kRelu:
      return FinishTyped(r, [=](auto x) { return Each(Relu, x, zero); });
    case TileOp::kClip:
      return FinishTyped(r, [=](auto x) { return Each(between, x, p, q); });
    case TileOp::kSiluForHalf:
      return FinishTyped(r, [](auto x) { return SiluForHalf(x); });
    case TileOp::kHardSigmoid:  // the value times it
      return FinishTyped(r, [=](auto x) { return Mul(x, Each(between, Add(Mul(x, p), q), zero, one)); });
    case TileOp::kGeluForHalf:
      return FinishTyped(r, [](auto x) { return GeluForHalf(x); });
    default:
      return FinishTyped(r, [](auto x) { return x; });
  }
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {

HWY_EXPORT(OnePass);

Epilogue::Epilogue(std::shared_ptr<TileProgram> program, std::vector<std::string> layout)
    : program_(std::move(program)), layout_(std::move(layout)), operands_(layout_.size()) {
  Require(program_->inputs == static_cast<int>(layout_.size()) + 1, "an epilogue has the row and its operands");
  for (const std::string& kind : layout_) {
    Require(kind == "full" || kind == "column" || kind == "scalar", "an operand meets a row in one of three ways");
  }
  one_pass_ = OnePassForm::Of(*program_, layout_);
}

Epilogue Epilogue::From(const Attributes& attributes) {
  auto program = attributes.prepared<TileProgram>("program");
  if (program == nullptr) return Epilogue();
  std::vector<std::string> layout;
  const std::string& names = attributes.get<std::string>("layout");
  for (size_t from = 0; from < names.size();) {
    size_t to = names.find(' ', from);
    if (to == std::string::npos) to = names.size();
    layout.push_back(names.substr(from, to - from));
    from = to + 1;
  }
  return Epilogue(std::move(program), std::move(layout));
}

// Whether the program is activation(row + column operand + full operand), with each part left out or there.
std::optional<OnePassForm> OnePassForm::Of(const TileProgram& program, const std::vector<std::string>& layout) {
  OnePassForm form;
  const auto& steps = program.steps;
  int value = 0;  // the register that holds the result so far
  size_t i = 0;
  for (; i < steps.size() && steps[i].op == TileOp::kAdd; ++i) {
    const TileStep& step = steps[i];
    const int other = step.x == value ? step.y : step.x;
    if ((step.x != value && step.y != value) || other == 0 || other >= program.inputs) return std::nullopt;
    const bool column = layout[static_cast<size_t>(other - 1)] == "column";
    const bool full = layout[static_cast<size_t>(other - 1)] == "full";
    if (form.added >= 0 || (column ? form.bias >= 0 : !full)) return std::nullopt;
    (column ? form.bias : form.added) = other - 1;
    value = step.to;
  }
  auto reads = [&](const TileStep& step, int x, int y) { return step.x == x && step.y == y; };
  if (i < steps.size()) {
    const TileStep& step = steps[i];
    const TileOp known[] = {TileOp::kRelu, TileOp::kClip, TileOp::kSiluForHalf, TileOp::kGeluForHalf};
    form.activation = step.op, form.p = step.p, form.q = step.q;
    if (step.x != value || std::isnan(step.p) || std::isnan(step.q)) return std::nullopt;
    ++i;
    if (step.op == TileOp::kHardSigmoid && i < steps.size()) {  // only as a factor of what it was made from
      const bool factor = reads(steps[i], value, step.to) || reads(steps[i], step.to, value);
      if (steps[i].op != TileOp::kMul || !factor) return std::nullopt;
      value = steps[i++].to;
    } else {
      if (std::find(std::begin(known), std::end(known), step.op) == std::end(known)) return std::nullopt;
      value = step.to;
    }
  }
  if (i != steps.size() || i == 0 || program.outputs != std::vector<int>{value}) return std::nullopt;
  return form;
}

void Epilogue::Bind(const Operands& operands, size_t first, int64_t columns) {
  columns_ = columns;
  const int64_t elements = operands.out(0).shape.size();
  Require(operands.inputs.size() == first + operands_.size(), "an epilogue has its operands");
  Require(program_ == nullptr || operands.outputs.size() == program_->outputs.size(), "an epilogue has its results");
  for (const Tensor& out : operands.outputs) Require(out.shape.size() == elements, "results of a group have one size");
  for (size_t i = 0; i < operands_.size(); ++i) {
    Operand& operand = operands_[i];
    operand.tensor = operands.in(first + i);
    const int64_t wanted = layout_[i] == "full" ? elements : layout_[i] == "column" ? columns : 1;
    Require(operand.tensor.given && operand.tensor.shape.size() == wanted, "an operand of an epilogue has its size");
    operand.row_stride = layout_[i] == "full" ? columns : 0;
    operand.column_stride = layout_[i] == "scalar" ? 0 : 1;
  }
}

bool Epilogue::AllFloats(const Operands& operands) const {
  auto floats = [](const Tensor& x) { return x.dtype == DType::kF32 || x.dtype == DType::kF16; };
  return floats(operands.out(0)) &&
         std::all_of(operands_.begin(), operands_.end(), [&](const Operand& x) { return floats(x.tensor); });
}

void Epilogue::Finish(float* values, int64_t row, int64_t column, size_t count, const Operands& operands) const {
  if (program_ == nullptr) {
    const Tensor& out = operands.out(0);
    StoreTile(out.dtype, values, out.as<char>() + (row * columns_ + column) * SizeOf(out.dtype), count);
    return;
  }
  thread_local TileRegisters registers;
  for (size_t done = 0; done < count; done += kTile) {
    const size_t part = std::min(kTile, count - done);
    const int64_t at = column + static_cast<int64_t>(done);
    registers.value[0] = values + done;
    for (size_t i = 0; i < operands_.size(); ++i) {
      const Operand& operand = operands_[i];
      const int64_t place = row * operand.row_stride + at * operand.column_stride;
      const char* from = operand.tensor.as<char>() + place * SizeOf(operand.tensor.dtype);
      registers.value[i + 1] = registers.storage[i + 1];
      LoadTile(operand.tensor.dtype, from, operand.column_stride, registers.storage[i + 1], part);
    }
    for (int r = program_->inputs; r < program_->registers; ++r) registers.value[r] = registers.storage[r];
    RunTile(*program_, registers.value, part);
    for (size_t o = 0; o < program_->outputs.size(); ++o) {
      const Tensor& out = operands.out(o);
      StoreTile(out.dtype, registers.value[program_->outputs[o]],
                out.as<char>() + (row * columns_ + at) * SizeOf(out.dtype), part);
    }
  }
}

void Epilogue::FinishRows(float* values, int64_t ld, int64_t row, int64_t rows, int64_t column, size_t count,
                          const Operands& operands) const {
  if (one_pass_ && AllFloats(operands)) return FinishInOnePass(values, ld, row, rows, column, count, operands);
  const int64_t width = static_cast<int64_t>(count), per_tile = static_cast<int64_t>(kTile) / std::max<int64_t>(width, 1);
  if (per_tile < 2 || rows < 2) {
    for (int64_t i = 0; i < rows; ++i) Finish(values + i * ld, row + i, column, count, operands);
    return;
  }
  const bool whole = width == columns_;  // rows of the result touch
  // One register from rows of a tensor, or rows of a tensor from one register.
  auto load = [&](const Operand& operand, int64_t first, int64_t n, float* to) {
    const DType dtype = operand.tensor.dtype;
    auto at = [&](int64_t r) {
      const int64_t place = r * operand.row_stride + column * operand.column_stride;
      return operand.tensor.as<char>() + place * static_cast<int64_t>(SizeOf(dtype));
    };
    if (operand.row_stride == columns_ && whole) return LoadTile(dtype, at(first), 1, to, n * width);
    if (operand.row_stride == 0 && operand.column_stride == 0) return LoadTile(dtype, at(0), 0, to, n * width);
    for (int64_t i = 0; i < n; ++i) {
      if (i > 0 && operand.row_stride == 0) {
        memcpy(to + i * width, to, count * sizeof(float));
      } else {
        LoadTile(dtype, at(first + i), 1, to + i * width, count);
      }
    }
  };
  auto store = [&](const Tensor& out, const float* from, int64_t pitch, int64_t first, int64_t n) {
    const int64_t size = static_cast<int64_t>(SizeOf(out.dtype));
    char* to = out.as<char>() + (first * columns_ + column) * size;
    if (whole && pitch == width) return StoreTile(out.dtype, from, to, n * width);
    for (int64_t i = 0; i < n; ++i) StoreTile(out.dtype, from + i * pitch, to + i * columns_ * size, count);
  };
  if (program_ == nullptr) return store(operands.out(0), values, ld, row, rows);
  thread_local TileRegisters registers;
  for (int64_t done = 0; done < rows; done += per_tile) {
    const int64_t n = std::min(per_tile, rows - done);
    registers.value[0] = values + done * ld;
    if (ld != width) {
      for (int64_t i = 0; i < n; ++i) {
        memcpy(registers.storage[0] + i * width, values + (done + i) * ld, count * sizeof(float));
      }
      registers.value[0] = registers.storage[0];
    }
    for (size_t i = 0; i < operands_.size(); ++i) {
      registers.value[i + 1] = registers.storage[i + 1];
      if (done == 0 || operands_[i].row_stride != 0) load(operands_[i], row + done, n, registers.storage[i + 1]);
    }
    for (int r = program_->inputs; r < program_->registers; ++r) registers.value[r] = registers.storage[r];
    RunTile(*program_, registers.value, static_cast<size_t>(n * width));
    for (size_t o = 0; o < program_->outputs.size(); ++o) {
      store(operands.out(o), registers.value[program_->outputs[o]], width, row + done, n);
    }
  }
}

void Epilogue::FinishInOnePass(const float* values, int64_t ld, int64_t row, int64_t rows, int64_t column, size_t count,
                               const Operands& operands) const {
  thread_local float bias[kTile + 64];
  const Tensor& out = operands.out(0);
  for (size_t done = 0; done < count; done += kTile) {
    const size_t part = std::min(kTile, count - done);
    const int64_t at = column + static_cast<int64_t>(done), place = row * columns_ + at;
    if (one_pass_->bias < 0) {
      std::fill(bias, bias + part + 16, -0.0f);  // leaves every number as it is, zeros too
    } else {
      const Tensor& given = operands_[static_cast<size_t>(one_pass_->bias)].tensor;
      LoadTile(given.dtype, given.as<char>() + at * static_cast<int64_t>(SizeOf(given.dtype)), 1, bias, part);
    }
    OnePassRows run{values + done, ld, bias, out.dtype, nullptr, out.dtype, nullptr, columns_, rows, part};
    run.out = out.as<char>() + place * static_cast<int64_t>(SizeOf(out.dtype));
    if (one_pass_->added >= 0) {
      const Tensor& added = operands_[static_cast<size_t>(one_pass_->added)].tensor;
      run.added_type = added.dtype;
      run.added = added.as<char>() + place * static_cast<int64_t>(SizeOf(added.dtype));
    }
    HWY_DYNAMIC_DISPATCH(OnePass)(run, *one_pass_);
  }
}

}  // namespace gristmill
#endif  // HWY_ONCE
