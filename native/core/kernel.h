// What a kernel is, and how an executable gives it its operands.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <variant>
#include <vector>

#include "core/sizes.h"
#include "core/thread_pool.h"
#include "core/types.h"

namespace gristmill {

// Something made once from constants, such as packed weights, that several kernels and executables may share.
class Prepared {
 public:
  virtual ~Prepared() = default;
  virtual size_t bytes() const = 0;
  // Returns when its contents are there; throws FileError where they cannot be read. Nobody reads them before.
  virtual void Finish() const {}
  // Says that a run has used it, and that there will be others: what makes them faster may go on in the background.
  virtual void Used() const {}
};

// Something prepared that is made in the background once it is asked for.
template <typename T>
class Later {
 public:
  // Begins, the first time.
  template <typename Make>
  const T& Begin(Make make) {
    std::call_once(once_, [&] {
      made_ = make();
      begun_.store(made_.get(), std::memory_order_release);
    });
    return *made_;
  }
  // Null until all of it is made.
  const T* Made() const {
    const T* begun = begun_.load(std::memory_order_acquire);
    return begun != nullptr && begun->data.done() ? begun : nullptr;
  }

 private:
  std::once_flag once_;
  std::shared_ptr<const T> made_;
  std::atomic<const T*> begun_{nullptr};
};

// Several of them, such as one packed matrix for each group of a convolution.
struct PreparedList : Prepared {
  std::vector<std::shared_ptr<Prepared>> items;

  size_t bytes() const override {
    size_t total = 0;
    for (const auto& item : items) total += item->bytes();
    return total;
  }
  void Finish() const override {
    for (const auto& item : items) item->Finish();
  }
  void Used() const override {
    for (const auto& item : items) item->Used();
  }
};

// A size that depends on the input shapes: the number of an entry of the executable's size table.
struct SizeRef {
  int entry;
};

using Attribute = std::variant<int64_t, double, std::string, std::vector<int64_t>, std::vector<double>,
                               std::vector<SizeRef>, std::shared_ptr<Prepared>>;

// Arguments of a kernel by name, as the lowering gave them.
class Attributes {
 public:
  Attributes() = default;
  explicit Attributes(std::map<std::string, Attribute> values) : values_(std::move(values)) {}

  bool has(const std::string& name) const { return values_.count(name) != 0; }

  // Throws Error when it is missing or of another kind.
  template <typename T>
  const T& get(const std::string& name) const {
    const auto found = values_.find(name);
    if (found == values_.end()) throw Error("kernel argument '" + name + "' is missing");
    const T* value = std::get_if<T>(&found->second);
    if (value == nullptr) throw Error("kernel argument '" + name + "' has another kind");
    return *value;
  }
  template <typename T>
  T get(const std::string& name, T fallback) const {
    return has(name) ? get<T>(name) : fallback;
  }
  // All sizes among them.
  std::vector<SizeRef> sizes() const {
    std::vector<SizeRef> found;
    for (const auto& [name, value] : values_) {
      if (const auto* list = std::get_if<std::vector<SizeRef>>(&value)) found.insert(found.end(), list->begin(), list->end());
    }
    return found;
  }
  // All that was prepared among them.
  std::vector<std::shared_ptr<Prepared>> prepared() const {
    std::vector<std::shared_ptr<Prepared>> found;
    for (const auto& [name, value] : values_) {
      if (const auto* one = std::get_if<std::shared_ptr<Prepared>>(&value)) found.push_back(*one);
    }
    return found;
  }
  // A `Prepared` of a given class; nullptr when it is missing.
  template <typename P>
  std::shared_ptr<P> prepared(const std::string& name) const {
    if (!has(name)) return nullptr;
    auto found = std::dynamic_pointer_cast<P>(get<std::shared_ptr<Prepared>>(name));
    if (found == nullptr) throw Error("kernel argument '" + name + "' was prepared for another kernel");
    return found;
  }

 private:
  std::map<std::string, Attribute> values_;
};

// Operands of one call. While a kernel is configured only dtypes and shapes count.
struct Operands {
  std::vector<Tensor> inputs;
  std::vector<Tensor> outputs;

  const Tensor& in(size_t i) const { return inputs[i]; }
  const Tensor& out(size_t i) const { return outputs[i]; }
  bool given(size_t i) const { return i < inputs.size() && inputs[i].given; }
};

// What a running kernel may use beside its operands.
struct Workspace {
  int threads = 1;
  char* scratch = nullptr;  // as many bytes as Configure asked for, aligned
  std::atomic<const char*>* failure = nullptr;

  // Says that the values do not allow a result: the run ends after this call with an Error of this text.
  void Fail(const char* what) const { failure->store(what, std::memory_order_relaxed); }

  // Shares tasks among the threads. Bits of the results must not depend on how many there are.
  void Parallel(int64_t tasks, TaskRef fn) const { ThreadPool::Global().Run(tasks, threads, fn); }
};

// One kernel call of an executable. Made once for a symbolic signature, configured when concrete sizes change, run for
// each prediction. `Run` does not allocate, and throws nothing but an Error for operands that do not fit, before its tasks
// are shared.
class Kernel {
 public:
  virtual ~Kernel() = default;

  // Learns the sizes; returns how much scratch memory a run needs. Throws Error when the shapes do not fit.
  virtual size_t Configure(const Operands& operands, const SizeTable& sizes, int threads) {
    (void)operands, (void)sizes, (void)threads;
    return 0;
  }
  virtual void Run(const Operands& operands, const Workspace& workspace) = 0;

  // Takes back what Run did to an operand that it wrote in place, given that everything that wrote there since was taken
  // back. May use external operands only: others have other contents by then. A run that failed wrote nothing in place.
  virtual void Undo(const Operands& operands) { (void)operands; }

  // For profiles: how many floating-point operations and how many bytes of constants a run takes, and which variant was
  // chosen.
  virtual double flops() const { return 0; }
  virtual double constant_bytes() const { return 0; }
  // Bytes of operands and results that a run reads and writes: all of them, unless a kernel touches only a part.
  virtual double operand_bytes(const Operands& operands) const {
    double bytes = 0;
    for (const auto* list : {&operands.inputs, &operands.outputs}) {
      for (const Tensor& tensor : *list) bytes += tensor.given ? static_cast<double>(tensor.bytes()) : 0;
    }
    return bytes;
  }
  virtual std::string variant() const { return ""; }
};

using MakeKernel = std::function<std::unique_ptr<Kernel>(const Attributes&)>;

// Kernels by name. A family's file registers its own: `static const RegisterKernel r("softmax", [](const auto& a) {…})`.
std::map<std::string, MakeKernel>& KernelTable();

struct RegisterKernel {
  RegisterKernel(const char* name, MakeKernel make) { KernelTable().emplace(name, std::move(make)); }
};

}  // namespace gristmill
