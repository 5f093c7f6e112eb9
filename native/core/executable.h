// A flat list of kernel calls over one arena.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "core/kernel.h"

namespace gristmill {

// Where a tensor's bytes are.
enum class Place : uint8_t { kArena, kExternal, kConstant, kAlias };

struct CallProfile {
  int call;
  double start;    // seconds since the run began
  double seconds;
};

class Executable {
 public:
  explicit Executable(int threads) : threads_(threads) {}

  SizeTable& sizes() { return sizes_; }

  // Tensors, known by the number that is returned. An alias has the bytes of another tensor under a shape of its own: all
  // of them, or some from an element of its own type on.
  int AddArena(DType dtype, std::vector<SizeRef> shape);
  int AddExternal(DType dtype, std::vector<SizeRef> shape);
  int AddConstant(DType dtype, std::vector<SizeRef> shape, std::shared_ptr<Buffer> data);
  int AddAlias(int of, DType dtype, std::vector<SizeRef> shape, std::optional<SizeRef> from = std::nullopt);

  // Appends a call; -1 stands for an operand that is left out.
  int AddCall(const std::string& kernel, const Attributes& attributes, std::vector<int> inputs, std::vector<int> outputs);

  // Fixes the sizes: evaluates shapes, configures the kernels whose sizes changed, plans the arena where it became too
  // small. Cheap when nothing changed.
  void Configure(const std::vector<int64_t>& symbols);

  // Runs all calls. `externals[i]` holds the bytes of the i-th external tensor. When a call fails, what those before it
  // wrote in place is taken back.
  void Run(const std::vector<void*>& externals, std::vector<CallProfile>* profile);

  // Takes back what a run on these arrays wrote in place; nobody has written to them since.
  void Undo(const std::vector<void*>& externals);

  // How often there were new sizes, and how many seconds it took to make ready for them.
  int64_t configurations() const { return configurations_; }
  double configure_seconds() const { return configure_seconds_; }
  // Bytes of the arena and of the scratch memory.
  size_t working_bytes() const { return arena_.capacity() + scratch_.capacity(); }

  // Bytes of a call's operands and results, for profiles.
  double operand_bytes(int call) const;
  const Kernel& kernel(int call) const { return *calls_.at(call).kernel; }

 private:
  struct Slot {
    Place place;
    std::vector<SizeRef> dims;
    int of;                      // the tensor that an alias stands for; which external tensor
    std::optional<SizeRef> from;  // element of that tensor with which an alias begins
    std::shared_ptr<Buffer> constant;
    int first = -1, last = -1;   // calls between which an arena tensor is alive
    size_t offset = 0;           // in the arena, or from the first byte of what an alias stands for in the end
    size_t room = 0;             // bytes that the plan of the arena has for it
    bool varies = false;         // its size was seen to change
    Tensor value;
  };
  struct Call {
    std::unique_ptr<Kernel> kernel;
    std::vector<int> inputs, outputs;
    std::vector<SizeRef> sizes;         // that the kernel was given
    std::vector<int64_t> configured_for;  // their values when it was configured
    bool configured = false;
    size_t scratch = 0;
    Operands operands;
  };

  int Add(Place place, DType dtype, std::vector<SizeRef> shape, int of = -1, std::shared_ptr<Buffer> constant = nullptr);
  int Root(int tensor) const;
  void FinishConstants();
  void EndRun();
  void CheckConstants();
  void EvaluateShapes();
  void PlanArena();
  void PlaceTensors();
  void ConfigureCall(Call& call);
  bool TakeOperands(const std::vector<int>& tensors, std::vector<Tensor>& values) const;
  void BindExternals(const std::vector<void*>& externals);

  int threads_;
  SizeTable sizes_;
  std::vector<Slot> tensors_;
  std::vector<Call> calls_;
  int externals_ = 0;
  std::vector<std::shared_ptr<Prepared>> prepared_;  // that calls use
  bool used_ = false;                                // whether there was a run
  int64_t lost_pages_ = 0;                           // LostPages() when constants were last known to be whole
  std::vector<int64_t> symbols_;
  bool configured_ = false;
  int64_t configurations_ = 0;
  double configure_seconds_ = 0;
  Buffer arena_, scratch_;
};

}  // namespace gristmill
