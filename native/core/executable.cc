#include "core/executable.h"

#include <algorithm>
#include <chrono>

namespace gristmill {

using Clock = std::chrono::steady_clock;

namespace {

// The first room is in the pages that were made ready for constants; what grows leaves them.
void Begin(Buffer& buffer, size_t bytes) {
  if (buffer.capacity() == 0 && bytes > 0) buffer = SharedBlock(bytes);
}

}  // namespace

std::map<std::string, MakeKernel>& KernelTable() {
  static auto* table = new std::map<std::string, MakeKernel>;
  return *table;
}

int Executable::Add(Place place, DType dtype, std::vector<SizeRef> shape, int of, std::shared_ptr<Buffer> constant) {
  Require(shape.size() <= kMaxRank, "a tensor has more than 8 dimensions");
  for (SizeRef size : shape) Require(sizes_.has(size.entry), "a dimension names no size");
  Slot slot{};
  slot.place = place;
  slot.dims = std::move(shape);
  slot.of = of;
  slot.constant = std::move(constant);
  slot.value.dtype = dtype;
  slot.value.given = true;
  tensors_.push_back(std::move(slot));
  configured_ = false;
  return static_cast<int>(tensors_.size()) - 1;
}

int Executable::AddArena(DType dtype, std::vector<SizeRef> shape) { return Add(Place::kArena, dtype, std::move(shape)); }

int Executable::AddExternal(DType dtype, std::vector<SizeRef> shape) {
  return Add(Place::kExternal, dtype, std::move(shape), externals_++);
}

int Executable::AddConstant(DType dtype, std::vector<SizeRef> shape, std::shared_ptr<Buffer> data) {
  Require(data != nullptr, "a constant has no bytes");
  return Add(Place::kConstant, dtype, std::move(shape), -1, std::move(data));
}

int Executable::AddAlias(int of, DType dtype, std::vector<SizeRef> shape, std::optional<SizeRef> from) {
  Require(of >= 0 && of < static_cast<int>(tensors_.size()), "an alias of no tensor");
  const int made = Add(Place::kAlias, dtype, std::move(shape), of);
  tensors_.back().from = from;
  return made;
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
  Call call;
  call.kernel = made->second(attributes);
  call.inputs = std::move(inputs);
  call.outputs = std::move(outputs);
  call.sizes = attributes.sizes();
  calls_.push_back(std::move(call));
  for (auto& one : attributes.prepared()) prepared_.push_back(std::move(one));
  configured_ = false;
  return index;
}

void Executable::Configure(const std::vector<int64_t>& symbols) {
  if (configured_ && symbols == symbols_) return;
  configured_ = false;
  const auto begin = Clock::now();
  sizes_.Evaluate(symbols);
  EvaluateShapes();
  PlanArena();
  FinishConstants();
  size_t scratch = 0;
  for (Call& call : calls_) {
    ConfigureCall(call);
    scratch = std::max(scratch, call.scratch);
  }
  Begin(scratch_, scratch);
  scratch_.Grow(scratch);
  symbols_ = symbols;
  configured_ = true;
  ++configurations_;
  configure_seconds_ += std::chrono::duration<double>(Clock::now() - begin).count();
}

void Executable::FinishConstants() {
  Loading::Hurry();
  for (const auto& one : prepared_) {
    if (one != nullptr) one->Finish();
  }
  for (const Slot& slot : tensors_) {
    if (slot.constant != nullptr) slot.constant->Finish();
  }
}

void Executable::EvaluateShapes() {
  for (Slot& slot : tensors_) {
    Shape& shape = slot.value.shape;
    const int64_t before = slot.value.bytes();
    shape.rank = slot.dims.size();
    int64_t count = 1;
    for (size_t axis = 0; axis < shape.rank; ++axis) {
      shape[axis] = sizes_[slot.dims[axis].entry];
      Require(shape[axis] >= 0, "a size is negative");
      Require(!__builtin_mul_overflow(count, shape[axis], &count) && count < (int64_t{1} << 46), "a tensor is too large");
    }
    const int64_t bytes = slot.value.bytes();
    slot.varies |= slot.room != 0 && bytes != before;
    if (slot.place == Place::kConstant) {
      Require(static_cast<int64_t>(slot.constant->capacity()) >= bytes, "a constant is too short");
    }
    if (slot.place == Place::kAlias) {
      const Slot& whole = tensors_[slot.of];
      int64_t start = slot.from ? sizes_[slot.from->entry] : 0, end = 0;
      Require(start >= 0 && !__builtin_mul_overflow(start, static_cast<int64_t>(SizeOf(slot.value.dtype)), &start) &&
                  !__builtin_add_overflow(start, bytes, &end) && end <= whole.value.bytes(),
              "an alias is larger than what it stands for");
      Require(slot.from || bytes == whole.value.bytes(), "a tensor has another number of elements under another shape");
      slot.offset = static_cast<size_t>(start) + (whole.place == Place::kAlias ? whole.offset : 0);
    }
  }
}

// Tensors stay where they are while they fit. When one no longer does, all whose size was seen to change get half as
// much again as they need now: sizes that grow step by step are planned for anew as often as their logarithm says.
void Executable::PlanArena() {
  bool fits = true;
  for (Slot& slot : tensors_) {
    if (slot.place != Place::kArena || slot.first < 0) continue;
    fits &= slot.room >= Room(static_cast<size_t>(slot.value.bytes()));
  }
  if (!fits) PlaceTensors();
  for (Slot& slot : tensors_) {
    if (slot.place == Place::kArena) slot.value.data = arena_.as<char>() + slot.offset;
    if (slot.place == Place::kConstant) slot.value.data = slot.constant->as<char>();
  }
  for (Slot& slot : tensors_) {
    if (slot.place != Place::kAlias) continue;
    const Slot& root = tensors_[Root(slot.of)];
    if (root.place != Place::kExternal) slot.value.data = root.value.as<char>() + slot.offset;
  }
}

// Places the largest tensors first, each as low as the ones alive at the same time allow.
void Executable::PlaceTensors() {
  std::vector<Slot*> order;
  for (Slot& slot : tensors_) {
    if (slot.place != Place::kArena || slot.first < 0) continue;
    const size_t bytes = static_cast<size_t>(slot.value.bytes());
    // Padding keeps reads past the end of one tensor inside the arena.
    slot.room = std::max(slot.room, Room(slot.varies ? bytes + bytes / 2 : bytes));
    order.push_back(&slot);
  }
  std::stable_sort(order.begin(), order.end(), [](const Slot* a, const Slot* b) { return a->room > b->room; });
  std::vector<Slot*> placed;  // by offset
  size_t bytes = 0;
  for (Slot* slot : order) {
    size_t offset = 0;
    for (const Slot* other : placed) {
      if (other->last < slot->first || slot->last < other->first) continue;
      if (offset + slot->room <= other->offset) break;
      offset = std::max(offset, other->offset + other->room);
    }
    slot->offset = offset;
    bytes = std::max(bytes, offset + slot->room);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), slot,
                                   [](const Slot* a, const Slot* b) { return a->offset < b->offset; }),
                  slot);
  }
  Begin(arena_, bytes);
  arena_.Resize(bytes);
}

// A kernel that was configured for these very sizes is left alone.
void Executable::ConfigureCall(Call& call) {
  bool same = TakeOperands(call.inputs, call.operands.inputs);
  same &= TakeOperands(call.outputs, call.operands.outputs);
  call.configured_for.resize(call.sizes.size());
  for (size_t i = 0; i < call.sizes.size(); ++i) {
    const int64_t value = sizes_[call.sizes[i].entry];
    same &= call.configured_for[i] == value;
    call.configured_for[i] = value;
  }
  if (same && call.configured) return;
  call.configured = false;
  call.scratch = call.kernel->Configure(call.operands, sizes_, threads_);
  call.configured = true;
}

// Gives a call its operands as they are now; returns whether they have the shapes that they had.
bool Executable::TakeOperands(const std::vector<int>& tensors, std::vector<Tensor>& values) const {
  bool same = values.size() == tensors.size();
  values.resize(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor now = tensors[i] < 0 ? Tensor{} : tensors_[tensors[i]].value;
    same &= now.shape == values[i].shape;
    values[i] = now;
  }
  return same;
}

void Executable::BindExternals(const std::vector<void*>& externals) {
  Require(configured_, "the executable has no sizes yet");
  Require(static_cast<int>(externals.size()) == externals_, "the number of external tensors");
  auto bind = [&](const std::vector<int>& tensors, std::vector<Tensor>& values) {
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (tensors[i] < 0) continue;
      const Slot &slot = tensors_[tensors[i]], &root = tensors_[Root(tensors[i])];
      if (root.place != Place::kExternal) continue;
      values[i].data = static_cast<char*>(externals[root.of]) + (slot.place == Place::kAlias ? slot.offset : 0);
    }
  };
  for (Call& call : calls_) {
    bind(call.inputs, call.operands.inputs);
    bind(call.outputs, call.operands.outputs);
  }
}

void Executable::Undo(const std::vector<void*>& externals) {
  BindExternals(externals);
  for (size_t i = calls_.size(); i-- > 0;) calls_[i].kernel->Undo(calls_[i].operands);
}

void Executable::Run(const std::vector<void*>& externals, std::vector<CallProfile>* profile) {
  BindExternals(externals);
  std::atomic<const char*> failure{nullptr};
  const Workspace workspace{threads_, scratch_.as<char>(), &failure};
  auto run = [&](size_t index) {
    calls_[index].kernel->Run(calls_[index].operands, workspace);
    const char* what = failure.load(std::memory_order_relaxed);
    if (what == nullptr) return;
    while (index-- > 0) calls_[index].kernel->Undo(calls_[index].operands);
    throw Error(what);
  };
  if (profile == nullptr) {
    for (size_t i = 0; i < calls_.size(); ++i) run(i);
    EndRun();
    return;
  }
  const auto begin = Clock::now();
  auto seconds = [&](Clock::time_point t) { return std::chrono::duration<double>(t - begin).count(); };
  for (size_t i = 0; i < calls_.size(); ++i) {
    const auto start = Clock::now();
    run(i);
    profile->push_back({static_cast<int>(i), seconds(start), seconds(Clock::now()) - seconds(start)});
  }
  EndRun();
}

void Executable::EndRun() {
  if (!used_) {
    for (const auto& one : prepared_) {
      if (one != nullptr) one->Used();
    }
    used_ = true;
  }
  CheckConstants();
}

// Constants may lie in files that somebody has cut since: what came out is worth nothing then.
void Executable::CheckConstants() {
  const int64_t lost = LostPages();
  if (lost == lost_pages_) return;
  try {
    FinishConstants();
  } catch (...) {
    for (size_t i = calls_.size(); i-- > 0;) calls_[i].kernel->Undo(calls_[i].operands);
    throw;
  }
  lost_pages_ = lost;  // of other programs' files
}

double Executable::operand_bytes(int call) const {
  const Call& made = calls_.at(static_cast<size_t>(call));
  return made.kernel->operand_bytes(made.operands);
}

}  // namespace gristmill
