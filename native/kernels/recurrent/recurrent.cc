// Recurrent layers: what depends on the step before.
//
// The input's part of all gates, W·x + b for all steps, is one product that a `linear` call has made already. Each step
// here multiplies the state before it with the recurrent weights, a packed matrix [H, H] for each gate, and finishes the
// gates of a few units at a time. A task owns some panels of units, for all gates and the whole batch.
#include <algorithm>
#include <array>

#include "core/buffer.h"
#include "kernels/gemm/gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/recurrent/recurrent.cc"
#include "simd/foreach_target.h"
#include "simd/math.h"
#include "simd/simd.h"

#ifndef GRISTMILL_RECURRENT_ONCE
#define GRISTMILL_RECURRENT_ONCE
namespace gristmill {

enum class Activation : uint8_t { kLinear, kRelu, kSigmoid, kHardSigmoid, kTanh };

constexpr size_t kMaxGates = 4;

// Units [0, count) of one sequence of the batch at one step. All pointers are to floats with room for a whole vector
// past the end; what is not given is nullptr.
struct Units {
  std::array<const float*, kMaxGates> input;      // W·x + b for each gate
  std::array<float*, kMaxGates> recurrent;        // R·h for each gate
  std::array<const float*, kMaxGates> extra;      // LSTM: peepholes of i, f, o. GRU: the bias inside the reset.
  float* h;
  float* c;            // LSTM: the cell. GRU with the reset before its product: r·h.
  const float* before; // h of the step before
  size_t count;
};

struct Functions {
  std::array<Activation, 3> of;
  float clip;  // of an LSTM's cell; infinite for none
};

}  // namespace gristmill
#endif

GRISTMILL_SIMD_BEGIN

HWY_INLINE VF Activate(Activation which, VF x) {
  const F32 d;
  switch (which) {
    case Activation::kLinear:
      return x;
    case Activation::kRelu:
      return Relu(x, hn::Zero(d));
    case Activation::kSigmoid:
      return Sigmoid(x);
    case Activation::kHardSigmoid:
      return MinWith(MaxWith(hn::MulAdd(x, hn::Set(d, 0.2f), hn::Set(d, 0.5f)), hn::Zero(d)), hn::Set(d, 1.0f));
    default:
      return Tanh(x);
  }
}

// One gate before its activation.
HWY_INLINE VF GateAt(const Units& u, size_t gate, size_t i) {
  return hn::Add(hn::LoadU(F32(), u.input[gate] + i), hn::LoadU(F32(), u.recurrent[gate] + i));
}

// h = f(W·x + b + R·h).
void RnnUnits(const Functions& f, const Units& u) {
  for (size_t i = 0; i < u.count; i += Lanes()) hn::StoreU(Activate(f.of[0], GateAt(u, 0, i)), F32(), u.h + i);
}

// Gates i, f, o, g; the functions of the gates, of g, and of the new cell.
void LstmUnits(const Functions& f, const Units& u) {
  const F32 d;
  const VF most = hn::Set(d, f.clip), least = hn::Set(d, -f.clip);
  auto gate = [&](size_t which, size_t i, VF c) {
    VF x = GateAt(u, which, i);
    if (u.extra[which] != nullptr) x = hn::MulAdd(hn::LoadU(d, u.extra[which] + i), c, x);
    return Activate(f.of[0], x);
  };
  for (size_t i = 0; i < u.count; i += Lanes()) {
    VF c = hn::LoadU(d, u.c + i);
    const VF added = hn::Mul(gate(0, i, c), Activate(f.of[1], GateAt(u, 3, i)));
    c = MinNaN(MaxNaN(hn::MulAdd(gate(1, i, c), c, added), least), most);
    hn::StoreU(c, d, u.c + i);
    hn::StoreU(hn::Mul(gate(2, i, c), Activate(f.of[2], c)), d, u.h + i);
  }
}

// Gates r, o, z. First, where the reset comes before its product: z takes the place of its recurrent part, and c = r·h.
void GruResets(const Functions& f, const Units& u) {
  const F32 d;
  for (size_t i = 0; i < u.count; i += Lanes()) {
    hn::StoreU(Activate(f.of[0], GateAt(u, 2, i)), d, u.recurrent[2] + i);
    const VF r = Activate(f.of[0], GateAt(u, 0, i));
    hn::StoreU(hn::Mul(r, hn::LoadU(d, u.before + i)), d, u.c + i);
  }
}

HWY_INLINE void GruState(const Functions& f, const Units& u, size_t i, VF open, VF z) {
  const F32 d;
  const VF made = Activate(f.of[1], open), kept = hn::LoadU(d, u.before + i);
  const VF share = hn::Sub(hn::Set(d, 1.0f), z);
  hn::StoreU(hn::MulAdd(share, made, hn::Mul(z, kept)), d, u.h + i);
}

// Then h = (1 - z)·g(W·x + b + R·(r·h)) + z·h.
void GruUnits(const Functions& f, const Units& u) {
  for (size_t i = 0; i < u.count; i += Lanes()) {
    GruState(f, u, i, GateAt(u, 1, i), hn::LoadU(F32(), u.recurrent[2] + i));
  }
}

// All at once, where the reset comes after its product: h = (1 - z)·g(W·x + b + r·(R·h + b')) + z·h.
void GruResetAfterUnits(const Functions& f, const Units& u) {
  const F32 d;
  for (size_t i = 0; i < u.count; i += Lanes()) {
    const VF r = Activate(f.of[0], GateAt(u, 0, i)), z = Activate(f.of[0], GateAt(u, 2, i));
    VF inner = hn::LoadU(d, u.recurrent[1] + i);
    if (u.extra[1] != nullptr) inner = hn::Add(inner, hn::LoadU(d, u.extra[1] + i));
    GruState(f, u, i, hn::MulAdd(r, inner, hn::LoadU(d, u.input[1] + i)), z);
  }
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {

HWY_EXPORT(RnnUnits);
HWY_EXPORT(LstmUnits);
HWY_EXPORT(GruResets);
HWY_EXPORT(GruUnits);
HWY_EXPORT(GruResetAfterUnits);

namespace {

Activation ActivationByName(const std::string& name) {
  static const std::map<std::string, Activation> names = {
      {"linear", Activation::kLinear},        {"relu", Activation::kRelu},
      {"sigmoid", Activation::kSigmoid},      {"hard_sigmoid", Activation::kHardSigmoid},
      {"sigmoid_hard", Activation::kHardSigmoid}, {"tanh", Activation::kTanh},
      {"scaled_tanh", Activation::kTanh}};
  const auto found = names.find(name);
  if (found == names.end()) throw Error("there is no activation '" + name + "' of a recurrent layer");
  return found->second;
}

enum class Cell { kRnn, kGru, kGruResetAfter, kLstm };

// Inputs: the input's part of the gates [S, B, G·H], h [B, H], both at the start, c [B, H] (LSTM), and for LSTM the
// peepholes [3·H], for GRU the bias inside the reset [H]; the first and the last are float32. Outputs: the states
// [S, B, H], or the last one [1, B, H]; h [B, H]; c [B, H] (LSTM).
class Recurrent : public Kernel {
 public:
  explicit Recurrent(const Attributes& attributes)
      : cell_(CellByName(attributes.get<std::string>("cell"))),
        reverse_(attributes.get<int64_t>("reverse") != 0),
        mirrored_(attributes.get<int64_t>("mirrored") != 0),
        every_(attributes.get<int64_t>("every") != 0),
        weights_(attributes.prepared<PreparedList>("weights")) {
    gates_ = cell_ == Cell::kLstm ? 4 : cell_ == Cell::kRnn ? 1 : 3;
    Require(weights_ != nullptr && weights_->items.size() == gates_, "a recurrent kernel needs a matrix for each gate");
    for (const auto& item : weights_->items) {
      matrices_.push_back(std::dynamic_pointer_cast<PackedMatrix>(item).get());
      Require(matrices_.back() != nullptr, "recurrent weights are packed matrices");
      Require(matrices_.back()->k == matrices_[0]->k && matrices_.back()->n == matrices_[0]->k,
              "recurrent weights are square");
    }
    hidden_ = matrices_[0]->k;
    Require(hidden_ > 0, "a recurrent layer has units");
    functions_.clip = static_cast<float>(attributes.get<double>("clip"));
    std::string names = attributes.get<std::string>("activations");
    for (Activation& activation : functions_.of) {
      const size_t end = names.find(' ');
      activation = ActivationByName(names.substr(0, end));
      if (end != std::string::npos) names = names.substr(end + 1);
    }
  }

  size_t Configure(const Operands& operands, const SizeTable&, int threads) override {
    const Shape& shape = operands.in(0).shape;
    const int64_t gates = static_cast<int64_t>(gates_);
    Require(shape.rank == 3 && shape[2] == gates * hidden_, "gates of a recurrent layer are [S, B, G·H]");
    Require(operands.in(0).dtype == DType::kF32, "gates of a recurrent layer are float32");
    steps_ = shape[0], batch_ = shape[1];
    auto fits = [&](const Tensor& state) { return state.shape.size() == batch_ * hidden_; };
    Require(fits(operands.in(1)) && fits(operands.out(1)), "states of a recurrent layer are [B, H]");
    Require(operands.out(0).shape.size() == (every_ ? steps_ : 1) * batch_ * hidden_, "states of all steps have their size");
    if (cell_ == Cell::kLstm) {
      Require(operands.given(2) && fits(operands.in(2)) && operands.outputs.size() == 3 && fits(operands.out(2)),
              "an LSTM has a cell [B, H]");
    }
    if (operands.given(3)) {
      Require(operands.in(3).dtype == DType::kF32 && operands.in(3).shape.size() == (cell_ == Cell::kLstm ? 3 : 1) * hidden_,
              "peepholes, or the bias inside the reset, have their size");
    }
    const int64_t width = matrices_[0]->width, panels = matrices_[0]->panels();
    pitch_ = panels * width;
    // A step of less work than starting threads takes is one task.
    const double work = static_cast<double>(batch_ * hidden_) * static_cast<double>(hidden_ * gates);
    tasks_ = work < kLeastWork ? 1 : std::clamp<int64_t>(threads, 1, panels);
    state_bytes_ = Room(static_cast<size_t>(batch_ * pitch_) * sizeof(float));
    panel_bytes_ = Room(static_cast<size_t>(kDepth * width + TilesFloats(batch_, kDepth)) * sizeof(float));
    return state_bytes_ * (3 + gates_) + panel_bytes_ * static_cast<size_t>(tasks_);
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    if (batch_ == 0) return;
    State state = Start(operands, workspace);
    for (int64_t step = 0; step < steps_; ++step) {
      const int64_t read = reverse_ ? steps_ - 1 - step : step, write = mirrored_ ? read : step;
      if (cell_ == Cell::kGru) {
        workspace.Parallel(tasks_, [&](int64_t task, int) { Resets(operands, state, read, task); });
      }
      workspace.Parallel(tasks_, [&](int64_t task, int) {
        Advance(operands, state, read, task);
        if (every_) Store(operands.out(0), state.h, write * batch_, task);
      });
      std::swap(state.h, state.before);
    }
    for (int64_t task = 0; task < tasks_; ++task) {
      if (!every_) Store(operands.out(0), state.before, 0, task);
      Store(operands.out(1), state.before, 0, task);
      if (cell_ == Cell::kLstm) Store(operands.out(2), state.c, 0, task);
    }
  }

  double flops() const override {
    return 2.0 * static_cast<double>(steps_ * batch_ * hidden_ * hidden_) * static_cast<double>(gates_);
  }
  double constant_bytes() const override { return static_cast<double>(weights_->bytes()); }
  std::string variant() const override { return matrices_[0]->dtype == DType::kF16 ? "f16 weights" : "f32 weights"; }

 private:
  static constexpr double kLeastWork = 1 << 18;

  // Matrices [B, pitch] of floats: the pitch is whole panels, so that a task writes vectors within its own.
  struct State {
    float *h, *before, *c;
    std::array<float*, kMaxGates> recurrent;
    char* panels;
  };

  static Cell CellByName(const std::string& name) {
    static const std::map<std::string, Cell> names = {
        {"rnn", Cell::kRnn}, {"gru", Cell::kGru}, {"gru_reset_after", Cell::kGruResetAfter}, {"lstm", Cell::kLstm}};
    const auto found = names.find(name);
    if (found == names.end()) throw Error("there is no recurrent cell '" + name + "'");
    return found->second;
  }

  State Start(const Operands& operands, const Workspace& workspace) const {
    char* at = workspace.scratch;
    auto next = [&] {
      float* matrix = reinterpret_cast<float*>(at);
      at += state_bytes_;
      return matrix;
    };
    State state{next(), next(), next(), {}, nullptr};
    for (size_t g = 0; g < gates_; ++g) state.recurrent[g] = next();
    state.panels = at;
    Load(operands.in(1), state.before);
    if (cell_ == Cell::kLstm) Load(operands.in(2), state.c);
    return state;
  }

  void Load(const Tensor& from, float* to) const {
    for (int64_t b = 0; b < batch_; ++b) {
      LoadTile(from.dtype, from.as<char>() + b * hidden_ * static_cast<int64_t>(SizeOf(from.dtype)), 1, to + b * pitch_,
               static_cast<size_t>(hidden_));
    }
  }

  int64_t FirstPanel(int64_t task) const { return matrices_[0]->panels() * task / tasks_; }
  int64_t FirstUnit(int64_t task) const { return std::min(hidden_, FirstPanel(task) * matrices_[0]->width); }

  // The task's units of a state, to rows from `row` on.
  void Store(const Tensor& to, const float* state, int64_t row, int64_t task) const {
    const int64_t first = FirstUnit(task), size = static_cast<int64_t>(SizeOf(to.dtype));
    for (int64_t b = 0; b < batch_; ++b) {
      StoreTile(to.dtype, state + b * pitch_ + first, to.as<char>() + ((row + b) * hidden_ + first) * size,
                static_cast<size_t>(FirstUnit(task + 1) - first));
    }
  }

  // R·state for the task's units of one gate.
  void Multiply(const State& state, const float* from, size_t gate, int64_t task) const {
    const PackedMatrix& matrix = *matrices_[gate];
    const int64_t p0 = FirstPanel(task), p1 = FirstPanel(task + 1);
    float* scratch = reinterpret_cast<float*>(state.panels + panel_bytes_ * static_cast<size_t>(task));
    for (int64_t k0 = 0; k0 < hidden_; k0 += kDepth) {
      MultiplyBlock(from + k0, pitch_, batch_, std::min(kDepth, hidden_ - k0), matrix, k0, p0, p1,
                    state.recurrent[gate] + p0 * matrix.width, pitch_, k0 > 0, scratch, scratch + kDepth * matrix.width);
    }
  }

  // The task's units of one sequence of the batch.
  Units UnitsOf(const Operands& operands, const State& state, int64_t read, int64_t b, int64_t task) const {
    const int64_t first = FirstUnit(task), at = b * pitch_ + first;
    Units units{};
    for (size_t g = 0; g < gates_; ++g) {
      const int64_t gate = static_cast<int64_t>(g);
      const int64_t row = (read * batch_ + b) * static_cast<int64_t>(gates_) + gate;
      units.input[g] = operands.in(0).as<float>() + row * hidden_ + first;
      units.recurrent[g] = state.recurrent[g] + at;
      if (!operands.given(3)) continue;
      if (cell_ == Cell::kLstm && g < 3) units.extra[g] = operands.in(3).as<float>() + gate * hidden_ + first;
      if (cell_ == Cell::kGruResetAfter) units.extra[g] = operands.in(3).as<float>() + first;
    }
    units.h = state.h + at;
    units.c = state.c + at;
    units.before = state.before + at;
    units.count = static_cast<size_t>(FirstUnit(task + 1) - first);
    return units;
  }

  // Of a GRU whose reset comes before its product: gates r and z.
  void Resets(const Operands& operands, const State& state, int64_t read, int64_t task) const {
    for (size_t gate : {0u, 2u}) Multiply(state, state.before, gate, task);
    for (int64_t b = 0; b < batch_; ++b) {
      HWY_DYNAMIC_DISPATCH(GruResets)(functions_, UnitsOf(operands, state, read, b, task));
    }
  }

  void Advance(const Operands& operands, const State& state, int64_t read, int64_t task) const {
    if (cell_ == Cell::kGru) {
      Multiply(state, state.c, 1, task);
    } else {
      for (size_t gate = 0; gate < gates_; ++gate) Multiply(state, state.before, gate, task);
    }
    for (int64_t b = 0; b < batch_; ++b) {
      const Units units = UnitsOf(operands, state, read, b, task);
      switch (cell_) {
        case Cell::kRnn:
          HWY_DYNAMIC_DISPATCH(RnnUnits)(functions_, units);
          break;
        case Cell::kGru:
          HWY_DYNAMIC_DISPATCH(GruUnits)(functions_, units);
          break;
        case Cell::kGruResetAfter:
          HWY_DYNAMIC_DISPATCH(GruResetAfterUnits)(functions_, units);
          break;
        case Cell::kLstm:
          HWY_DYNAMIC_DISPATCH(LstmUnits)(functions_, units);
          break;
      }
    }
  }

  Cell cell_;
  bool reverse_, mirrored_, every_;  // runs from the last step; a state stands where its step was read; all are wanted
  std::shared_ptr<PreparedList> weights_;
  std::vector<const PackedMatrix*> matrices_;
  size_t gates_ = 0;
  Functions functions_;
  int64_t hidden_ = 0, steps_ = 0, batch_ = 0, pitch_ = 0, tasks_ = 1;
  size_t state_bytes_ = 0, panel_bytes_ = 0;
};

const RegisterKernel recurrent("recurrent", [](const Attributes& a) { return std::make_unique<Recurrent>(a); });

}  // namespace
}  // namespace gristmill
#endif  // HWY_ONCE
