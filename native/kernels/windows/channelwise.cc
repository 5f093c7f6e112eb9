// Windows that treat each channel by itself: depthwise convolution and pooling.
#include <cmath>
#include <limits>

#include "kernels/elementwise/tile_program.h"
#include "kernels/windows/windows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/windows/channelwise.cc"
#include "simd/foreach_target.h"
#include "simd/math.h"
#include "simd/simd.h"

#ifndef GRISTMILL_CHANNELWISE_
#define GRISTMILL_CHANNELWISE_
namespace gristmill {

enum class Combine { kWeighted, kMax, kSum, kSumOfSquares };

// One window: for each tap inside, where its channels are and which tap it is.
struct Taps {
  const void** from;
  int64_t* tap;
  int64_t count;
};

// Sums are cut into blocks of so many taps, whose sums are added: errors do not grow with the window.
constexpr int64_t kTapBlock = 256;

}  // namespace gristmill
#endif  // GRISTMILL_CHANNELWISE_

GRISTMILL_SIMD_BEGIN

template <Combine C, typename T>
HWY_INLINE VF Window(const Taps& taps, const float* weight, int64_t channels, int64_t c, size_t part) {
  const F32 d;
  auto load = [&](int64_t t) {
    const T* p = static_cast<const T*>(taps.from[t]) + c;
    return part == 0 ? LoadF(p) : LoadFirst(p, part);
  };
  if (C == Combine::kMax) {
    VF most = hn::Set(d, -std::numeric_limits<float>::infinity());
    for (int64_t t = 0; t < taps.count; ++t) most = MaxNaN(most, load(t));
    return most;
  }
  VF total = hn::Zero(d);
  for (int64_t block = 0; block < taps.count; block += kTapBlock) {
    VF sum = hn::Zero(d);
    for (int64_t t = block; t < std::min(taps.count, block + kTapBlock); ++t) {
      const VF x = load(t);
      if (C == Combine::kWeighted) {
        sum = hn::MulAdd(x, hn::LoadU(d, weight + taps.tap[t] * channels + c), sum);
      } else {
        sum = C == Combine::kSum ? hn::Add(sum, x) : hn::MulAdd(x, x, sum);
      }
    }
    total = hn::Add(total, sum);
  }
  return total;
}

template <Combine C, typename T>
void Channels(const Taps& taps, const float* weight, int64_t channels, float* to) {
  const int64_t lanes = static_cast<int64_t>(Lanes());
  int64_t c = 0;
  for (; c + lanes <= channels; c += lanes) {
    hn::StoreU(Window<C, T>(taps, weight, channels, c, 0), F32(), to + c);
  }
  if (c < channels) {
    const size_t part = static_cast<size_t>(channels - c);
    StoreFirst(Window<C, T>(taps, weight, channels, c, part), to + c, part);
  }
}

template <typename T>
void CombineAs(Combine combine, const Taps& taps, const float* weight, int64_t channels, float* to) {
  switch (combine) {
    case Combine::kWeighted:
      return Channels<Combine::kWeighted, T>(taps, weight, channels, to);
    case Combine::kMax:
      return Channels<Combine::kMax, T>(taps, weight, channels, to);
    case Combine::kSum:
      return Channels<Combine::kSum, T>(taps, weight, channels, to);
    case Combine::kSumOfSquares:
      return Channels<Combine::kSumOfSquares, T>(taps, weight, channels, to);
  }
}

void CombineWindow(Combine combine, DType dtype, const Taps& taps, const float* weight, int64_t channels, float* to) {
  if (dtype == DType::kF16) return CombineAs<half>(combine, taps, weight, channels, to);
  CombineAs<float>(combine, taps, weight, channels, to);
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {
namespace {

HWY_EXPORT(CombineWindow);

// Finishes one output pixel after another: gathers the taps inside the input, combines them channel by channel, and
// hands the row to the epilogue.
class Channelwise : public Kernel {
 public:
  Channelwise(const Attributes& attributes, Combine combine, size_t first)
      : attributes_(attributes), epilogue_(Epilogue::From(attributes)), combine_(combine), first_(first) {}

  size_t Configure(const Operands& operands, const SizeTable& sizes, int threads) override {
    const Shape &from = operands.in(0).shape, &to = operands.out(0).shape;
    windows_ = Windows::From(attributes_, from, to, sizes);
    Require(to[to.rank - 1] == windows_.channels, "each channel makes one");
    const DType dtype = operands.in(0).dtype;
    Require(dtype == DType::kF32 || dtype == DType::kF16, "windows are over floats");
    if (combine_ == Combine::kWeighted) {
      Require(operands.in(1).shape.size() == windows_.taps() * windows_.channels, "one weight for each tap");
    }
    per_thread_ = static_cast<size_t>(windows_.taps()) * 16 + static_cast<size_t>(windows_.channels + 64) * 4 + 128;
    per_thread_ = (per_thread_ + 63) / 64 * 64;
    return per_thread_ * static_cast<size_t>(threads);
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    epilogue_.Bind(operands, first_, windows_.channels);
    const Tensor& x = operands.in(0);
    const float* weight = combine_ == Combine::kWeighted ? operands.in(1).as<float>() : nullptr;
    const int64_t line = std::max<int64_t>(windows_.out[2], 1), lines = windows_.pixels() / line;
    const size_t size = SizeOf(x.dtype);
    auto task = [&](int64_t index, int thread) {
      char* own = workspace.scratch + thread * per_thread_;
      Taps taps{reinterpret_cast<const void**>(own), nullptr, 0};
      taps.tap = reinterpret_cast<int64_t*>(own + windows_.taps() * 8);
      float* row = reinterpret_cast<float*>(own + (static_cast<size_t>(windows_.taps()) * 16 + 63) / 64 * 64);
      for (int64_t pixel = index * line; pixel < (index + 1) * line; ++pixel) {
        taps.count = 0;
        windows_.EachTap(pixel, [&](int64_t tap, int64_t offset) {
          taps.from[taps.count] = x.as<char>() + offset * size;
          taps.tap[taps.count++] = tap;
        });
        HWY_DYNAMIC_DISPATCH(CombineWindow)(combine_, x.dtype, taps, weight, windows_.channels, row);
        Finish(pixel, row);
        epilogue_.Finish(row, pixel, 0, static_cast<size_t>(windows_.channels), operands);
      }
    };
    workspace.Parallel(lines, task);
  }

  double flops() const override {
    return 2.0 * static_cast<double>(windows_.pixels() * windows_.taps() * windows_.channels);
  }

 protected:
  // What else happens to the row of a pixel.
  virtual void Finish(int64_t pixel, float* row) const { (void)pixel, (void)row; }

  Attributes attributes_;
  Windows windows_;

 private:
  Epilogue epilogue_;
  Combine combine_;
  size_t first_;  // of the epilogue's operands
  size_t per_thread_ = 0;
};

// Mean of a window. Padding counts as zeros, or not at all with "exclude"; what lies beyond the padding never counts.
class AveragePool : public Channelwise {
 public:
  explicit AveragePool(const Attributes& attributes)
      : Channelwise(attributes, Combine::kSum, 1), exclude_(attributes.get<int64_t>("exclude") != 0) {}

 protected:
  void Finish(int64_t pixel, float* row) const override {
    int64_t image = 0, count = 1;
    std::array<int64_t, 3> place;
    windows_.Locate(pixel, image, place);
    for (size_t axis = 0; axis < 3; ++axis) {
      const int64_t front = exclude_ ? 0 : windows_.before[axis], behind = exclude_ ? 0 : windows_.after[axis];
      const int64_t start = windows_.Start(axis, place[axis]);
      const int64_t end = std::min(start + windows_.kernel[axis], windows_.in[axis] + behind);
      count *= std::max<int64_t>(1, end - std::max(start, -front));
    }
    for (int64_t c = 0; c < windows_.channels; ++c) row[c] /= static_cast<float>(count);
  }

 private:
  bool exclude_;
};

class RootPool : public Channelwise {
 public:
  explicit RootPool(const Attributes& attributes) : Channelwise(attributes, Combine::kSumOfSquares, 1) {}

 protected:
  void Finish(int64_t, float* row) const override {
    for (int64_t c = 0; c < windows_.channels; ++c) row[c] = std::sqrt(row[c]);
  }
};

const RegisterKernel depthwise("depthwise", [](const Attributes& a) {
  return std::make_unique<Channelwise>(a, Combine::kWeighted, 2);
});
const RegisterKernel max_pool("max_pool", [](const Attributes& a) {
  return std::make_unique<Channelwise>(a, Combine::kMax, 1);
});
const RegisterKernel avg_pool("avg_pool", [](const Attributes& a) { return std::make_unique<AveragePool>(a); });
const RegisterKernel l2_pool("l2_pool", [](const Attributes& a) { return std::make_unique<RootPool>(a); });

}  // namespace
}  // namespace gristmill
#endif  // HWY_ONCE
