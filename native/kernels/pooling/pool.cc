// Pooling of channels-last images.
#include <algorithm>
#include <cmath>

#include "kernels/conv/image.h"
#include "kernels/elementwise/tile_program.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/pooling/pool.cc"
#include "simd/foreach_target.h"
#include "simd/math.h"
#include "simd/several.h"

#ifndef GRISTMILL_POOL_H_
#define GRISTMILL_POOL_H_
namespace gristmill {

enum class PoolKind : uint8_t { kMax, kAverage, kL2 };

// One window: pixels [low, high) along each axis of an image whose first pixel's channels start at `x`.
struct PoolWindow {
  DType dtype;
  const void* x;
  const Image* in;
  std::array<int64_t, kSpatial> low, high;
  float counted;  // elements that a mean is over
  void* y;
  int64_t channels;
};

}  // namespace gristmill
#endif

GRISTMILL_SIMD_BEGIN

// What a window holds in N vectors of channels, which `load` reads where they stand. Sums are cut into blocks of 256 terms, as
// those of products (see gemm.h).
template <PoolKind kind, size_t N, typename T, typename Load>
HWY_INLINE Several<N> Fold(const PoolWindow& w, const T* x, const Load& load) {
  const Several<N> none = Filled<N>(Number(0.0f));
  Several<N> total = none, part = kind == PoolKind::kMax ? Filled<N>(Number(-HUGE_VALF)) : none;
  int terms = 0;
  for (int64_t i0 = w.low[0]; i0 < w.high[0]; ++i0) {
    for (int64_t i1 = w.low[1]; i1 < w.high[1]; ++i1) {
      const T* from = x + ((i0 * w.in->sizes[1] + i1) * w.in->sizes[2] + w.low[2]) * w.in->channels;
      for (int64_t i2 = w.low[2]; i2 < w.high[2]; ++i2, from += w.in->channels) {
        const Several<N> v = load(from);
        if (kind == PoolKind::kMax) {
          part = Each([](VF a, VF b) { return MaxNaN(a, b); }, part, v);
          continue;
        }
        part = kind == PoolKind::kL2 ? MulAdd(v, v, part) : Add(part, v);
        if (++terms < 256) continue;
        total = Add(total, part), part = none, terms = 0;
      }
    }
  }
  if (kind == PoolKind::kMax) return part;
  total = Add(total, part);
  return kind == PoolKind::kL2 ? Each([](VF v) { return hn::Sqrt(v); }, total) : Div(total, Number(w.counted));
}

template <PoolKind kind, typename T>
void Pool(const PoolWindow& w) {
  const T* x = static_cast<const T*>(w.x);
  T* y = static_cast<T*>(w.y);
  const int64_t lanes = static_cast<int64_t>(Lanes()), several = kSeveral * lanes;
  int64_t c = 0;
  for (; c + several <= w.channels; c += several) {
    StoreSeveral(Fold<kind, kSeveral>(w, x + c, [](const T* from) { return LoadSeveral<kSeveral>(from); }), y + c);
  }
  for (; c + lanes <= w.channels; c += lanes) {
    StoreSeveral(Fold<kind, 1>(w, x + c, [](const T* from) { return LoadSeveral<1>(from); }), y + c);
  }
  if (c == w.channels) return;
  const size_t rest = static_cast<size_t>(w.channels - c);
  const auto part = Fold<kind, 1>(w, x + c, [rest](const T* from) { return Several<1>{{LoadFirst(from, rest)}}; });
  StoreFirst(part.v[0], y + c, rest);
}

void PoolOne(PoolKind kind, const PoolWindow& w) {
  const bool narrow = w.dtype == DType::kF16;
  switch (kind) {
    case PoolKind::kMax:
      return narrow ? Pool<PoolKind::kMax, half>(w) : Pool<PoolKind::kMax, float>(w);
    case PoolKind::kAverage:
      return narrow ? Pool<PoolKind::kAverage, half>(w) : Pool<PoolKind::kAverage, float>(w);
    case PoolKind::kL2:
      return narrow ? Pool<PoolKind::kL2, half>(w) : Pool<PoolKind::kL2, float>(w);
  }
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {
namespace {

HWY_EXPORT(PoolOne);

// x [N, spatial…, C]; one result. For means "after" is the padding behind, and "counts" whether padding counts as
// zeros.
class Pooling : public Kernel {
 public:
  Pooling(PoolKind kind, const Attributes& attributes)
      : kind_(kind),
        windows_(attributes),
        after_sizes_(attributes.get<std::vector<SizeRef>>("after")),
        padding_counts_(attributes.get<int64_t>("counts") != 0) {}

  size_t Configure(const Operands& operands, const SizeTable& sizes, int threads) override {
    in_ = Image::Of(operands.in(0).shape), out_ = Image::Of(operands.out(0).shape);
    RequireWindows(out_);
    Require(in_.batch == out_.batch && in_.channels == out_.channels, "pooling keeps batch and channels");
    Require(operands.in(0).dtype == operands.out(0).dtype, "pooling keeps the type");
    windows_.Configure(sizes);
    std::vector<int64_t> after;
    for (SizeRef size : after_sizes_) after.push_back(sizes[size.entry]);
    after_ = Spatial(after, 0);
    // Whole pixels where there are rows enough to share, else runs of channels.
    lines_ = out_.batch * out_.sizes[0] * out_.sizes[1];
    parts_ = lines_ >= 4 * threads || threads == 1 ? 1 : std::max<int64_t>(1, std::min<int64_t>(8, in_.channels / 32));
    return 0;
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    const Tensor &x = operands.in(0), &y = operands.out(0);
    if (y.shape.size() == 0) return;
    const int64_t size = static_cast<int64_t>(SizeOf(x.dtype));
    const int64_t width = (in_.channels / parts_ + 15) / 16 * 16;
    auto task = [&](int64_t index, int) {
      const int64_t line = index / parts_, first = index % parts_ * width;
      if (first >= in_.channels) return;
      PoolWindow window;
      window.dtype = x.dtype;
      window.in = &in_;
      window.channels = index % parts_ == parts_ - 1 ? in_.channels - first : std::min(width, in_.channels - first);
      const int64_t image = line / out_.sizes[1] / out_.sizes[0];
      window.x = x.as<char>() + (image * in_.pixels() * in_.channels + first) * size;
      const int64_t place[2] = {line / out_.sizes[1] % out_.sizes[0], line % out_.sizes[1]};
      const float outer = Bound(window, 0, place[0]) * Bound(window, 1, place[1]);
      for (int64_t i = 0; i < out_.sizes[2]; ++i) {
        window.counted = outer * Bound(window, 2, i);
        window.y = y.as<char>() + ((line * out_.sizes[2] + i) * in_.channels + first) * size;
        HWY_DYNAMIC_DISPATCH(PoolOne)(kind_, window);
      }
    };
    workspace.Parallel(lines_ * parts_, task);
  }

 private:
  // Sets what a window covers along an axis; returns how much of it a mean counts.
  float Bound(PoolWindow& window, size_t axis, int64_t place) const {
    const int64_t start = place * windows_.strides[axis] - windows_.before[axis], end = start + windows_.kernel[axis];
    const int64_t size = in_.sizes[axis];
    window.low[axis] = std::clamp<int64_t>(start, 0, size);
    window.high[axis] = std::clamp<int64_t>(end, window.low[axis], size);
    const int64_t before = padding_counts_ ? windows_.before[axis] : 0, after = padding_counts_ ? after_[axis] : 0;
    const int64_t counted = std::min(end, size + after) - std::max(start, -before);
    return static_cast<float>(std::max<int64_t>(1, counted));
  }

  PoolKind kind_;
  Windows windows_;
  std::vector<SizeRef> after_sizes_;
  std::array<int64_t, kSpatial> after_{};
  bool padding_counts_;
  Image in_, out_;
  int64_t lines_ = 0, parts_ = 1;
};

template <PoolKind kind>
std::unique_ptr<Kernel> Make(const Attributes& attributes) {
  return std::make_unique<Pooling>(kind, attributes);
}
const RegisterKernel max_pool("max_pool", Make<PoolKind::kMax>);
const RegisterKernel avg_pool("avg_pool", Make<PoolKind::kAverage>);
const RegisterKernel l2_pool("l2_pool", Make<PoolKind::kL2>);

}  // namespace
}  // namespace gristmill
#endif  // HWY_ONCE
