// A flat list of kernel calls over one arena.
#pragma once

#include <memory>
#include <mutex>
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

  // Tensors, known by the number that is returned. An alias has the bytes of another tensor under a shape of its own.
  int AddArena(DType dtype, std::vector<SizeRef> shape);
  int AddExternal(DType dtype, std::vector<SizeRef> shape);
  int AddConstant(DType dtype, std::vector<SizeRef> shape, std::shared_ptr<Buffer> data);
  int AddAlias(int of, DType dtype, std::vector<SizeRef> shape);

  // Appends a call; -1 stands for an operand that is left out.
  int AddCall(const std::string& kernel, const Attributes& attributes, std::vector<int> inputs, std::vector<int> outputs);

  // Fixes the sizes: evaluates shapes, configures kernels, plans the arena. Cheap when nothing changed.
  void Configure(const std::vector<int64_t>& symbols);

  // Runs all calls. `externals[i]` holds the bytes of the i-th external tensor.
  void Run(const std::vector<void*>& externals, std::vector<CallProfile>* profile);

  // Bytes of a call's operands and results, for profiles.
  double operand_bytes(int call) const;
  const Kernel& kernel(int call) const { return *calls_.at(call).kernel; }

 private:
  struct Slot {
    Place place;
    std::vector<SizeRef> dims;
    int of;              // the tensor that an alias stands for; which external tensor
    int first, last;     // calls between which an arena tensor is alive
    size_t offset;
    std::shared_ptr<Buffer> constant;
    Tensor value;
  };
  struct Call {
    std::unique_ptr<Kernel> kernel;
    std::vector<int> inputs, outputs;
    Operands operands;
  };

  int Add(Place place, DType dtype, std::vector<SizeRef> shape, int of, std::shared_ptr<Buffer> constant);
  int Root(int tensor) const;
  void EvaluateShapes();
  void PlanArena();
  void BindOperands();

  int threads_;
  SizeTable sizes_;
  std::vector<Slot> tensors_;
  std::vector<Call> calls_;
  int externals_ = 0;
  std::vector<int64_t> symbols_;
  bool configured_ = false;
  Buffer arena_, scratch_;
};

}  // namespace gristmill
