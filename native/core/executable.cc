#include "core/executable.h"

#include <algorithm>
#include <chrono>

namespace gristmill {

std::map<std::string, MakeKernel>& KernelTable() {
  static auto* table = new std::map<std::string, MakeKernel>;
  return *table;
}

int Executable::Add(Place place, DType dtype, std::vector<SizeRef> shape, int of, std::shared_ptr<Buffer> constant) {
  Require(shape.size() <= kMaxRank, "a tensor has more than 8 dimensions");
  for (SizeRef size : shape) Require(sizes_.has(size.entry), "a dimension names no size");
  Slot slot{place, std::move(shape), of, -1, -1, 0, std::move(constant), {}};
  slot.value.dtype = dtype;
  slot.value.given = true;
  tensors_.push_back(std::move(slot));
  configured_ = false;
  return static_cast<int>(tensors_.size()) - 1;
}

int Executable::AddArena(DType dtype, std::vector<SizeRef> shape) {
  return Add(Place::kArena, dtype, std::move(shape), -1, nullptr);
}

int Executable::AddExternal(DType dtype, std::vector<SizeRef> shape) {
  return Add(Place::kExternal, dtype, std::move(shape), externals_++, nullptr);
}

int Executable::AddConstant(DType dtype, std::vector<SizeRef> shape, std::shared_ptr<Buffer> data) {
  Require(data != nullptr, "a constant has no bytes");
  return Add(Place::kConstant, dtype, std::move(shape), -1, std::move(data));
}

int Executable::AddAlias(int of, DType dtype, std::vector<SizeRef> shape) {
  Require(of >= 0 && of < static_cast<int>(tensors_.size()), "an alias of no tensor");
  return Add(Place::kAlias, dtype, std::move(shape), of, nullptr);
}

int Executable::Root(int tensor) const {
  while (tensors_[tensor].place == Place::kAlias) tensor = tensors_[tensor].of;
  return tensor;
}

int Executable::AddCall(const std::string& kernel, const Attributes& attributes, std::vector<int> inputs,
                        std::vector<int> outputs) {
  const auto made = KernelTable().find(kernel);
  if (made == KernelTable().end()) throw Error("there is no kernel '" + kernel + "'");
  const int index = static_cast<int>(calls_.size());
  for (const std::vector<int>* list : {&inputs, &outputs}) {
    for (int tensor : *list) {
      Require(tensor >= -1 && tensor < static_cast<int>(tensors_.size()), "an operand that is no tensor");
      if (tensor < 0) continue;
      Slot& slot = tensors_[Root(tensor)];
      if (slot.first < 0) slot.first = index;
      slot.last = index;
    }
  }
  calls_.push_back({made->second(attributes), std::move(inputs), std::move(outputs), {}});
  configured_ = false;
  return index;
}

void Executable::Configure(const std::vector<int64_t>& symbols) {
  if (configured_ && symbols == symbols_) return;
  configured_ = false;
  sizes_.Evaluate(symbols);
  EvaluateShapes();
  PlanArena();
  BindOperands();
  size_t scratch = 0;
  for (Call& call : calls_) {
    scratch = std::max(scratch, call.kernel->Configure(call.operands, sizes_, threads_));
  }
  scratch_.Resize(scratch);
  symbols_ = symbols;
  configured_ = true;
}

void Executable::EvaluateShapes() {
  for (Slot& slot : tensors_) {
    Shape& shape = slot.value.shape;
    shape.rank = slot.dims.size();
    int64_t count = 1;
    for (size_t axis = 0; axis < shape.rank; ++axis) {
      shape[axis] = sizes_[slot.dims[axis].entry];
      Require(shape[axis] >= 0, "a size is negative");
      Require(!__builtin_mul_overflow(count, shape[axis], &count) && count < (int64_t{1} << 46), "a tensor is too large");
    }
    if (slot.place == Place::kConstant) {
      Require(static_cast<int64_t>(slot.constant->capacity()) >= slot.value.bytes(), "a constant is too short");
    }
    if (slot.place == Place::kAlias) {
      const Slot& root = tensors_[Root(slot.of)];
      Require(slot.value.bytes() <= root.value.bytes(), "an alias is larger than what it stands for");
    }
  }
}

// Places the largest tensors first, each as low as the ones alive at the same time allow.
void Executable::PlanArena() {
  std::vector<Slot*> order;
  for (Slot& slot : tensors_) {
    if (slot.place == Place::kArena && slot.first >= 0) order.push_back(&slot);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const Slot* a, const Slot* b) { return a->value.bytes() > b->value.bytes(); });
  // Padding keeps reads past the end of one tensor inside the arena.
  auto room = [](const Slot* slot) { return Room(static_cast<size_t>(slot->value.bytes())); };
  std::vector<Slot*> placed;  // by offset
  size_t bytes = 0;
  for (Slot* slot : order) {
    size_t offset = 0;
    for (const Slot* other : placed) {
      if (other->last < slot->first || slot->last < other->first) continue;
      if (offset + room(slot) <= other->offset) break;
      offset = std::max(offset, other->offset + room(other));
    }
    slot->offset = offset;
    bytes = std::max(bytes, offset + room(slot));
    placed.insert(std::upper_bound(placed.begin(), placed.end(), slot,
                                   [](const Slot* a, const Slot* b) { return a->offset < b->offset; }),
                  slot);
  }
  arena_.Resize(bytes);
}

void Executable::BindOperands() {
  for (Slot& slot : tensors_) {
    if (slot.place == Place::kArena) slot.value.data = arena_.as<char>() + slot.offset;
    if (slot.place == Place::kConstant) slot.value.data = slot.constant->as<char>();
  }
  for (Slot& slot : tensors_) {
    if (slot.place == Place::kAlias) slot.value.data = tensors_[Root(slot.of)].value.data;
  }
  for (Call& call : calls_) {
    call.operands.inputs.clear();
    call.operands.outputs.clear();
    for (int tensor : call.inputs) call.operands.inputs.push_back(tensor < 0 ? Tensor{} : tensors_[tensor].value);
    for (int tensor : call.outputs) call.operands.outputs.push_back(tensor < 0 ? Tensor{} : tensors_[tensor].value);
  }
}

void Executable::Run(const std::vector<void*>& externals, std::vector<CallProfile>* profile) {
  Require(configured_, "the executable has no sizes yet");
  Require(static_cast<int>(externals.size()) == externals_, "the number of external tensors");
  auto bind = [&](const std::vector<int>& tensors, std::vector<Tensor>& values) {
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (tensors[i] < 0) continue;
      const Slot& root = tensors_[Root(tensors[i])];
      if (root.place == Place::kExternal) values[i].data = externals[root.of];
    }
  };
  for (Call& call : calls_) {
    bind(call.inputs, call.operands.inputs);
    bind(call.outputs, call.operands.outputs);
  }
  std::atomic<const char*> failure{nullptr};
  const Workspace workspace{threads_, scratch_.as<char>(), &failure};
  auto check = [&] {
    if (const char* what = failure.load(std::memory_order_relaxed)) throw Error(what);
  };
  if (profile == nullptr) {
    for (Call& call : calls_) {
      call.kernel->Run(call.operands, workspace);
      check();
    }
    return;
  }
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  auto seconds = [&](Clock::time_point t) { return std::chrono::duration<double>(t - begin).count(); };
  for (size_t i = 0; i < calls_.size(); ++i) {
    const auto start = Clock::now();
    calls_[i].kernel->Run(calls_[i].operands, workspace);
    check();
    profile->push_back({static_cast<int>(i), seconds(start), seconds(Clock::now()) - seconds(start)});
  }
}

double Executable::operand_bytes(int call) const {
  const Call& made = calls_.at(static_cast<size_t>(call));
  return made.kernel->operand_bytes(made.operands);
}

}  // namespace gristmill
