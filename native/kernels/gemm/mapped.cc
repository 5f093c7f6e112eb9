#include "kernels/gemm/mapped.h"

#include <algorithm>

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
    float* at = reinterpret_cast<float*>(to);
    for (int64_t k = k0; k < k0 + depth;) {
      const int64_t o = k / source_.inner, i = k % source_.inner;
      MatrixSource block = source_;
      block.data = static_cast<const char*>(source_.data) + (o * source_.outer_stride + i * source_.inner_stride) * size_;
      block.outer = 1, block.inner = std::min(source_.inner - i, k0 + depth - k);
      PackPanelAsFloats(block, panel, at);
      k += block.inner, at += block.inner * width;
    }
  }

  const Panels* Stored() const override { return packed_.Made(); }
  void Store() const override {
    Used();
    Begun().Finish();
  }
  void Used() const override { Begun(); }

  Lines Read(int64_t panel, int64_t k0, int64_t depth) const override {
    if (source_.outer > 1) return {};  // from all over the columns
    const char* first = static_cast<const char*>(source_.data) + (panel * width * source_.n_stride + k0) * size_;
    return {first, depth * size_, source_.n_stride * size_, std::min(width, n - panel * width)};
  }

  size_t room() const override { return source_.outer > 1 && Stored() == nullptr ? Shape().size() : 0; }
  Panels Shape() const override {
    if (source_.outer == 1) return *this;
    Panels shape = *this;
    shape.dtype = source_.dtype, shape.decoder = nullptr;
    return shape;
  }
  Panels InOrder(char* room, const Workspace& workspace) const override {
    if (source_.outer == 1) return *this;
    if (const Panels* stored = Stored(); stored != nullptr) return *stored;
    const Panels made = Shape().Placed(room);
    workspace.Parallel(panels(), [&](int64_t p, int) { PackPanelAsIs(source_, p, const_cast<char*>(made.panel(p))); });
    return made;
  }

  size_t bytes() const override { return static_cast<size_t>(k * n * size_); }
  std::string form() const override {
    if (const Panels* stored = Stored(); stored != nullptr) return stored->dtype == DType::kF16 ? "f16 weights" : "f32 weights";
    return source_.dtype == DType::kF16 ? "f16 weights in their file" : "f32 weights in their file";
  }

 private:
  const PackedMatrix& Begun() const {
    return packed_.Begin([this] { return PackMatrix(source_, file_, name_, false); });
  }

  MatrixSource source_;
  int64_t size_;
  FileRange file_;
  std::string name_;
  mutable Later<PackedMatrix> packed_;
};

}  // namespace

bool StaysInFile(const MatrixSource& source, const FileRange& file) {
  const int64_t last = (source.outer - 1) * source.outer_stride + (source.inner - 1) * source.inner_stride;
  const bool runs = last + 1 == source.k() && source.n_stride >= source.k() && (source.outer > 1 || source.inner_stride == 1);
  return file.mapping() != nullptr && DefaultThreads() > 1 && runs &&
         source.n * source.k() * static_cast<int64_t>(SizeOf(source.dtype)) >= kFewBytes;
}

std::shared_ptr<PackedMatrix> MapMatrix(const MatrixSource& source, const FileRange& file, std::string name) {
  return std::make_shared<MappedMatrix>(source, file, std::move(name));
}

}  // namespace gristmill
