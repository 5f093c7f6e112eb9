// Convolutions in which every input channel has output channels of its own.
#include <algorithm>
#include <vector>

#include "core/buffer.h"
#include "kernels/conv/image.h"
#include "kernels/elementwise/epilogue.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/conv/depthwise.cc"
#include "simd/foreach_target.h"
#include "simd/simd.h"

#ifndef GRISTMILL_DEPTHWISE_ONCE
#define GRISTMILL_DEPTHWISE_ONCE
namespace gristmill {

constexpr int64_t kPixelsTogether = 64;  // of narrow images, whose rows are finished together
constexpr int64_t kMostTaps = 256;  // of a window: the contract's bound is for sums of 256 terms

// A block of channels of one image. A line is a row of the input, widened, with its padding: `block` floats for each of
// `line_width` places.
struct DepthwiseBlock {
  const Image* in;
  const Windows* windows;
  DType dtype;
  const char* image;
  int64_t channel, channels;  // output channels
  int64_t multiplier;
  int64_t out_width, line_width;
};

}  // namespace gristmill
#endif

GRISTMILL_SIMD_BEGIN

// Floats of a pixel in a line: with float16 storage a cache line of each pixel.
constexpr int64_t kBlockVectors = 4;
constexpr int64_t kBlock = kBlockVectors * static_cast<int64_t>(hn::MaxLanes(F32()));

template <typename T>
void FillLine(const DepthwiseBlock& b, int64_t plane, int64_t row, float* to) {
  const Image& in = *b.in;
  const int64_t lanes = static_cast<int64_t>(Lanes()), before = b.windows->before[2], pitch = in.channels, channels = b.channels;
  const T* HWY_RESTRICT x = reinterpret_cast<const T*>(b.image) + (plane * in.sizes[1] + row) * in.sizes[2] * pitch;
  // Padding stays as it was made: zeros.
  const int64_t first = std::max<int64_t>(before, 0), count = std::min(b.line_width, in.sizes[2] + before) - first;
  x += (first - before) * pitch;
  float* HWY_RESTRICT out = to + first * kBlock;
  if (b.multiplier != 1) {
    for (int64_t c = 0; c < count; ++c, x += pitch, out += kBlock) {
      for (int64_t o = 0; o < channels; ++o) out[o] = hn::GetLane(LoadFirst(x + (b.channel + o) / b.multiplier, 1));
    }
    return;
  }
  x += b.channel;
  if (channels == kBlock) {
    for (int64_t c = 0; c < count; ++c, x += pitch, out += kBlock) {
#pragma GCC unroll 4
      for (int64_t v = 0; v < kBlockVectors; ++v) StoreF(LoadF(x + v * lanes), out + v * lanes);
    }
    return;
  }
  for (int64_t c = 0; c < count; ++c, x += pitch, out += kBlock) ConvertRun(x, out, static_cast<size_t>(channels));
}

void FillLineOf(const DepthwiseBlock& b, int64_t plane, int64_t row, float* to) {
  if (b.dtype == DType::kF16) return FillLine<half>(b, plane, row, to);
  FillLine<float>(b, plane, row, to);
}

// One vector of channels of P neighbouring pixels. `lines` has one line for each row of taps. Taps and stride are constants
// where the template gives them, with no dilation: what neighbouring windows share is then loaded once.
template <int P, int kTaps, int kStride>
HWY_INLINE void Pixels(const Windows& w, const float* const* lines, int64_t place, const float* HWY_RESTRICT weight,
                       float* HWY_RESTRICT to) {
  const F32 d;
  const int64_t rows = w.kernel[0] * w.kernel[1], taps = kTaps == 0 ? w.kernel[2] : kTaps;
  const int64_t step = kBlock * (kTaps == 0 ? w.strides[2] : kStride), dilation = kBlock * (kTaps == 0 ? w.dilations[2] : 1);
  VF sums[P];
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) sums[p] = hn::Zero(d);
  for (int64_t r = 0; r < rows; ++r) {
    const float* HWY_RESTRICT x = lines[r] + place;
#pragma GCC unroll 8
    for (int64_t t = 0; t < taps; ++t, x += dilation, weight += kBlock) {
      const VF by = hn::LoadU(d, weight);
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) sums[p] = hn::MulAdd(hn::LoadU(d, x + p * step), by, sums[p]);
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) hn::StoreU(sums[p], d, to + p * kBlock);
}

// The sums of one row of the result, [out_width, block], of P pixels at a time, or fewer where there are not as many. All
// channels of some pixels come before the next ones, so that what their windows share stays in the first-level cache. The last
// pixels may be summed once more: few at a time would take longer.
template <int kTaps, int kStride, int P = HWY_TARGET <= HWY_AVX3 ? 14 : 7>  // 7 divides the widths of most networks' images
void SumPixels(const DepthwiseBlock& b, const float* const* lines, const float* weight, float* sums) {
  const Windows& w = *b.windows;
  const int64_t lanes = static_cast<int64_t>(Lanes()), step = kBlock * w.strides[2], width = b.out_width;
  if constexpr (P > 1) {
    if (width < P) return SumPixels<kTaps, kStride, P / 2>(b, lines, weight, sums);
  }
  for (int64_t next = 0; next < width; next += P) {
    const int64_t p = std::min(next, width - P);
    for (int64_t c = 0; c < b.channels; c += lanes) {
      Pixels<P, kTaps, kStride>(w, lines, p * step + c, weight + c, sums + p * kBlock + c);
    }
  }
}

void SumRow(const DepthwiseBlock& b, const float* const* lines, const float* weight, float* sums) {
  const Windows& w = *b.windows;
  const int64_t taps = w.dilations[2] == 1 ? w.kernel[2] : 0, stride = w.strides[2];
  if (stride == 1) {
    if (taps == 3) return SumPixels<3, 1>(b, lines, weight, sums);
    if (taps == 5) return SumPixels<5, 1>(b, lines, weight, sums);
    if (taps == 7) return SumPixels<7, 1>(b, lines, weight, sums);
  } else if (stride == 2) {
    if (taps == 3) return SumPixels<3, 2>(b, lines, weight, sums);
    if (taps == 5) return SumPixels<5, 2>(b, lines, weight, sums);
  }
  SumPixels<0, 0>(b, lines, weight, sums);
}

int64_t BlockFloats() { return kBlock; }

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {
namespace {

HWY_EXPORT(FillLineOf);
HWY_EXPORT(SumRow);
HWY_EXPORT(BlockFloats);

int64_t RoundUp(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

// x [N, spatial…, C], weight [taps, C·multiplier] of any floats, then the epilogue's operands. Output channel o takes
// input channel o / multiplier. Sums have as many terms as there are taps: at most 256 (see gemm.h).
//
// A task makes a band of rows for a block of channels. It keeps as many lines as a window is high and widens each row of
// the input once.
class Depthwise : public Kernel {
 public:
  explicit Depthwise(const Attributes& attributes) : windows_(attributes), epilogue_(Epilogue::From(attributes)) {
    Require(windows_.taps() <= kMostTaps, "a depthwise window has at most 256 taps");
  }

  size_t Configure(const Operands& operands, const SizeTable& sizes, int threads) override {
    in_ = Image::Of(operands.in(0).shape), out_ = Image::Of(operands.out(0).shape);
    RequireWindows(out_);
    windows_.Configure(sizes);
    const Shape& weight = operands.in(1).shape;
    Require(in_.channels > 0 && out_.channels % in_.channels == 0 && in_.batch == out_.batch,
            "the channels of a depthwise convolution");
    Require(weight.rank == 2 && weight[0] == windows_.taps() && weight[1] == out_.channels,
            "the weight of a depthwise convolution");
    block_ = HWY_DYNAMIC_DISPATCH(BlockFloats)();
    blocks_ = (out_.channels + block_ - 1) / block_;
    line_width_ = std::max<int64_t>((out_.sizes[2] - 1) * windows_.strides[2] + (windows_.kernel[2] - 1) * windows_.dilations[2] + 1, 1);
    reach_ = (windows_.kernel[1] - 1) * windows_.dilations[1] + 1;
    const int64_t planes = out_.batch * out_.sizes[0] * blocks_;
    bands_ = std::clamp<int64_t>((4 * threads + planes - 1) / std::max<int64_t>(planes, 1), 1,
                                 std::max<int64_t>(out_.sizes[1] / 4, 1));
    if (threads == 1) bands_ = 1;
    band_ = (out_.sizes[1] + bands_ - 1) / bands_;
    lines_floats_ = RoundUp((windows_.kernel[0] * reach_ + 1) * line_width_ * block_, 16);
    weight_floats_ = RoundUp(windows_.taps() * block_, 16);
    rows_ = std::max<int64_t>(kPixelsTogether / out_.sizes[2], 1);
    per_thread_ = lines_floats_ + weight_floats_ + RoundUp(rows_ * out_.sizes[2] * block_, 16);
    return sizeof(float) * static_cast<size_t>(per_thread_ * threads);
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    if (out_.batch * out_.pixels() * out_.channels == 0) return;
    epilogue_.Bind(operands, 2, out_.channels);
    workspace.Parallel(out_.batch * out_.sizes[0] * bands_ * blocks_, [&](int64_t index, int thread) {
      const int64_t block = index % blocks_, band = index / blocks_ % bands_, plane = index / blocks_ / bands_;
      Band(operands, plane, block, band * band_, reinterpret_cast<float*>(workspace.scratch) + thread * per_thread_);
    });
  }

  double flops() const override {
    return 2.0 * static_cast<double>(out_.batch * out_.pixels() * out_.channels * windows_.taps());
  }
  double constant_bytes() const override { return static_cast<double>(windows_.taps() * out_.channels * 4); }

 private:
  void Band(const Operands& operands, int64_t plane, int64_t block, int64_t first, float* own) const {
    const Tensor &x = operands.in(0), &weight = operands.in(1);
    const int64_t image = plane / out_.sizes[0], top = plane % out_.sizes[0] * windows_.strides[0] - windows_.before[0];
    DepthwiseBlock b{&in_, &windows_, x.dtype, nullptr, block * block_, 0, out_.channels / in_.channels, out_.sizes[2],
                     line_width_};
    b.image = x.as<char>() + image * in_.pixels() * in_.channels * static_cast<int64_t>(SizeOf(x.dtype));
    b.channels = std::min(block_, out_.channels - b.channel);
    const int64_t line = line_width_ * block_;
    float *lines = own, *factors = own + lines_floats_, *sums = factors + weight_floats_;
    std::fill(own, sums, 0.0f);
    float* zeros = lines + windows_.kernel[0] * reach_ * line;
    for (int64_t t = 0; t < windows_.taps(); ++t) {
      const int64_t at = t * out_.channels + b.channel;
      LoadTile(weight.dtype, weight.as<char>() + at * static_cast<int64_t>(SizeOf(weight.dtype)), 1,
               factors + t * block_, static_cast<size_t>(b.channels));
    }
    const float* under[kMostTaps];
    int64_t filled = first * windows_.strides[1] - windows_.before[1];  // rows below this one are in their lines
    const int64_t end = std::min(first + band_, out_.sizes[1]);
    for (int64_t row = first; row < end; ++row) {
      const int64_t up = row * windows_.strides[1] - windows_.before[1];
      for (filled = std::max(filled, up); filled < up + reach_; ++filled) {
        if (filled < 0 || filled >= in_.sizes[1]) continue;
        for (int64_t k = 0; k < windows_.kernel[0]; ++k) {
          const int64_t depth = top + k * windows_.dilations[0];
          if (depth < 0 || depth >= in_.sizes[0]) continue;
          HWY_DYNAMIC_DISPATCH(FillLineOf)(b, depth, filled, lines + (k * reach_ + filled % reach_) * line);
        }
      }
      for (int64_t k0 = 0; k0 < windows_.kernel[0]; ++k0) {
        const int64_t depth = top + k0 * windows_.dilations[0];
        for (int64_t k1 = 0; k1 < windows_.kernel[1]; ++k1) {
          const int64_t y = up + k1 * windows_.dilations[1];
          const bool inside = depth >= 0 && depth < in_.sizes[0] && y >= 0 && y < in_.sizes[1];
          under[k0 * windows_.kernel[1] + k1] = inside ? lines + (k0 * reach_ + y % reach_) * line : zeros;
        }
      }
      const int64_t summed = (row - first) % rows_ + 1;  // rows in `sums`, this one included
      HWY_DYNAMIC_DISPATCH(SumRow)(b, under, factors, sums + (summed - 1) * out_.sizes[2] * block_);
      if (summed < rows_ && row + 1 < end) continue;
      const int64_t pixel = (plane * out_.sizes[1] + row + 1 - summed) * out_.sizes[2];
      epilogue_.FinishRows(sums, block_, pixel, summed * out_.sizes[2], b.channel, static_cast<size_t>(b.channels), operands);
    }
  }

  Windows windows_;
  Epilogue epilogue_;
  Image in_, out_;
  int64_t block_ = 0, blocks_ = 0, band_ = 1, bands_ = 1;  // channels of a task, rows of a task
  int64_t rows_ = 1;                                       // that are finished together
  int64_t line_width_ = 0, reach_ = 1;                     // places of a line; rows that a window spans
  int64_t lines_floats_ = 0, weight_floats_ = 0, per_thread_ = 0;
};

const RegisterKernel depthwise("depthwise", [](const Attributes& a) { return std::make_unique<Depthwise>(a); });

}  // namespace
}  // namespace gristmill
#endif  // HWY_ONCE
