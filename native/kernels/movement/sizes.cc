// Integers that the shapes of the inputs decide.
#include "core/kernel.h"

namespace gristmill {
namespace {

template <typename T>
void Store(const std::vector<int64_t>& values, void* to) {
  for (size_t i = 0; i < values.size(); ++i) static_cast<T*>(to)[i] = static_cast<T>(values[i]);
}

// No inputs; the result's elements are sizes.
class Sizes : public Kernel {
 public:
  explicit Sizes(const Attributes& attributes) : sizes_(attributes.get<std::vector<SizeRef>>("values")) {}

  size_t Configure(const Operands& operands, const SizeTable& sizes, int) override {
    Require(operands.out(0).shape.size() == static_cast<int64_t>(sizes_.size()), "an element for each size");
    values_.clear();
    for (SizeRef size : sizes_) values_.push_back(sizes[size.entry]);
    return 0;
  }

  void Run(const Operands& operands, const Workspace&) override {
    const Tensor& out = operands.out(0);
    switch (SizeOf(out.dtype)) {
      case 4:
        return Store<int32_t>(values_, out.data);
      case 2:
        return Store<int16_t>(values_, out.data);
      default:
        return Store<int8_t>(values_, out.data);
    }
  }

 private:
  std::vector<SizeRef> sizes_;
  std::vector<int64_t> values_;
};

const RegisterKernel sizes("sizes", [](const Attributes& a) { return std::make_unique<Sizes>(a); });

}  // namespace
}  // namespace gristmill
