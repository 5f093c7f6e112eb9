#include "kernels/gemm/mapped.h"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "kernels/gemm/gemm.h"

namespace gristmill {
namespace {

constexpr int64_t kFewBytes = int64_t{1} << 18;  // a smaller matrix is packed: that takes no time, and saves some later

class MappedMatrix : public PackedMatrix, public BlockDecoder {
 public:
  MappedMatrix(const MatrixSource& source, const FileRange& file, std::string name)
      : source_(source), size_(static_cast<int64_t>(SizeOf(source.dtype))), file_(file), name_(std::move(name)) {
    k = source.k(), n = source.n, width = PanelWidth();
    dtype = DType::kF32;
    decoder = this;
    source_.data = file.data();
    data.Load(Loading::Begin(name_, 0, nullptr, file.mapping()));
  }

  void Decode(int64_t panel, int64_t k0, int64_t depth, char* to) const override {
    MatrixSource block = source_;
    block.data = static_cast<const char*>(source_.data) + k0 * size_;
    block.inner = depth;
    PackPanelAsFloats(block, panel, reinterpret_cast<float*>(to));
  }

  const Panels* Stored() const override {
    const PackedMatrix* packed = begun_.load(std::memory_order_acquire);
    return packed != nullptr && packed->data.done() ? packed : nullptr;
  }
  void Store() const override {
    Used();
    packed_->Finish();
  }

  void Used() const override {
    std::call_once(once_, [this] {
      packed_ = PackMatrix(source_, file_, name_, false);
      begun_.store(packed_.get(), std::memory_order_release);
    });
  }

  Lines Read(int64_t panel, int64_t k0, int64_t depth) const override {
    const char* first = static_cast<const char*>(source_.data) + (panel * width * source_.n_stride + k0) * size_;
    return {first, depth * size_, source_.n_stride * size_, std::min(width, n - panel * width)};
  }

  size_t bytes() const override { return static_cast<size_t>(k * n * size_); }
  std::string form() const override {
    if (const Panels* stored = Stored(); stored != nullptr) return stored->dtype == DType::kF16 ? "f16 weights" : "f32 weights";
    return source_.dtype == DType::kF16 ? "f16 weights in their file" : "f32 weights in their file";
  }

 private:
  MatrixSource source_;
  int64_t size_;
  FileRange file_;
  std::string name_;
  mutable std::once_flag once_;
  mutable std::shared_ptr<PackedMatrix> packed_;
  mutable std::atomic<const PackedMatrix*> begun_{nullptr};
};

}  // namespace

bool StaysInFile(const MatrixSource& source, const FileRange& file) {
  const bool runs = source.outer == 1 && source.inner_stride == 1 && source.n_stride >= source.inner;
  return file.mapping() != nullptr && DefaultThreads() > 1 && runs &&
         source.n * source.inner * static_cast<int64_t>(SizeOf(source.dtype)) >= kFewBytes;
}

std::shared_ptr<PackedMatrix> MapMatrix(const MatrixSource& source, const FileRange& file, std::string name) {
  return std::make_shared<MappedMatrix>(source, file, std::move(name));
}

}  // namespace gristmill
