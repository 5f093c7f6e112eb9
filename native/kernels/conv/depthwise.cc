// Convolutions in which every input channel has output channels of its own.
#include <algorithm>

#include "core/buffer.h"
#include "kernels/conv/image.h"
#include "kernels/elementwise/epilogue.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/conv/depthwise.cc"
#include "simd/foreach_target.h"
#include "simd/simd.h"

#ifndef GRISTMILL_DEPTHWISE_H_
#define GRISTMILL_DEPTHWISE_H_
namespace gristmill {

// One task: a band of rows of one plane of one image, for a block of output channels. The input under it is widened
// into a frame with its padding, so that the sums need no test of the borders.
struct DepthwiseTask {
  const Tensor* x;
  int64_t image, plane, row, rows;      // of the result
  int64_t channel, channels, block;     // output channels that count, and floats for each pixel of the frame
  int64_t multiplier;
  const Image* in;
  const Windows* windows;
  int64_t out_width;
  const float* weight;                  // [taps, pitch], from the task's first channel on
  int64_t weight_pitch;
  int64_t frame_rows, frame_width;
  float* frame;
  float* sums;                          // [out_width, block], one row at a time
};

}  // namespace gristmill
#endif

GRISTMILL_SIMD_BEGIN

template <typename T>
void FillFrame(const DepthwiseTask& t) {
  const Image& in = *t.in;
  const Windows& w = *t.windows;
  const T* x = t.x->as<T>();
  const int64_t first = t.channel / t.multiplier;
  float* to = t.frame;
  for (int64_t k = 0; k < w.kernel[0]; ++k) {
    const int64_t plane = t.plane * w.strides[0] - w.before[0] + k * w.dilations[0];
    for (int64_t r = 0; r < t.frame_rows; ++r) {
      const int64_t row = t.row * w.strides[1] - w.before[1] + r;
      const bool inside = plane >= 0 && plane < in.sizes[0] && row >= 0 && row < in.sizes[1];
      const T* line = x + ((t.image * in.sizes[0] + plane) * in.sizes[1] + row) * in.sizes[2] * in.channels;
      for (int64_t c = 0; c < t.frame_width; ++c, to += t.block) {
        const int64_t column = c - w.before[2];
        if (!inside || column < 0 || column >= in.sizes[2]) {
          memset(to, 0, t.block * sizeof(float));
          continue;
        }
        const T* pixel = line + column * in.channels;
        if (t.multiplier == 1) {
          ConvertRun(pixel + first, to, static_cast<size_t>(t.channels));
        } else {
          for (int64_t o = 0; o < t.channels; ++o) {
            to[o] = hn::GetLane(LoadFirst(pixel + (t.channel + o) / t.multiplier, 1));
          }
        }
        for (int64_t o = t.channels; o < t.block; ++o) to[o] = 0.0f;
      }
    }
  }
}

// Sums of P neighbouring pixels for two vectors of channels.
template <int P>
HWY_INLINE void Pixels(const DepthwiseTask& t, const float* HWY_RESTRICT frame, const float* HWY_RESTRICT weight,
                       float* HWY_RESTRICT to) {
  const F32 d;
  const Windows& w = *t.windows;
  const int64_t lanes = static_cast<int64_t>(Lanes()), step = w.strides[2] * t.block;
  VF left[P], right[P];
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) left[p] = right[p] = hn::Zero(d);
  for (int64_t k0 = 0; k0 < w.kernel[0]; ++k0) {
    for (int64_t k1 = 0; k1 < w.kernel[1]; ++k1) {
      const float* line = frame + (k0 * t.frame_rows + k1 * w.dilations[1]) * t.frame_width * t.block;
      for (int64_t k2 = 0; k2 < w.kernel[2]; ++k2) {
        const VF w0 = hn::LoadU(d, weight), w1 = hn::LoadU(d, weight + lanes);
        weight += t.weight_pitch;
        const float* x = line + k2 * w.dilations[2] * t.block;
#pragma GCC unroll 8
        for (int p = 0; p < P; ++p) {
          left[p] = hn::MulAdd(hn::LoadU(d, x + p * step), w0, left[p]);
          right[p] = hn::MulAdd(hn::LoadU(d, x + p * step + lanes), w1, right[p]);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) {
    hn::StoreU(left[p], d, to + p * t.block);
    hn::StoreU(right[p], d, to + p * t.block + lanes);
  }
}

void FillFrameOf(const DepthwiseTask& t) {
  if (t.x->dtype == DType::kF16) return FillFrame<half>(t);
  FillFrame<float>(t);
}

// One row of the result into t.sums.
void SumRow(const DepthwiseTask& t, int64_t row) {
  constexpr int kPixels = HWY_TARGET <= HWY_AVX3 ? 8 : 5;
  const int64_t pair = static_cast<int64_t>(2 * Lanes()), step = t.windows->strides[2] * t.block;
  const float* frame = t.frame + row * t.windows->strides[1] * t.frame_width * t.block;
  for (int64_t c = 0; c < t.block; c += pair) {
    int64_t p = 0;
    for (; p + kPixels <= t.out_width; p += kPixels) {
      Pixels<kPixels>(t, frame + p * step + c, t.weight + c, t.sums + p * t.block + c);
    }
    for (; p + 2 <= t.out_width; p += 2) Pixels<2>(t, frame + p * step + c, t.weight + c, t.sums + p * t.block + c);
    if (p < t.out_width) Pixels<1>(t, frame + p * step + c, t.weight + c, t.sums + p * t.block + c);
  }
}

int64_t PairHere() { return static_cast<int64_t>(2 * Lanes()); }

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {
namespace {

HWY_EXPORT(FillFrameOf);
HWY_EXPORT(SumRow);
HWY_EXPORT(PairHere);

constexpr int64_t kBlock = 64;                  // channels of a task
constexpr int64_t kFrameBytes = int64_t{192} << 10;  // what a frame may take of the second-level cache

int64_t RoundUp(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

// x [N, spatial…, C], weight [taps, C·multiplier] of any floats, then the epilogue's operands. Output channel o takes
// input channel o / multiplier. Sums have as many terms as there are taps: at most 256 (see gemm.h).
class Depthwise : public Kernel {
 public:
  explicit Depthwise(const Attributes& attributes) : windows_(attributes), epilogue_(Epilogue::From(attributes)) {
    Require(windows_.taps() <= 256, "a depthwise window has at most 256 taps");
  }

  size_t Configure(const Operands& operands, const SizeTable& sizes, int threads) override {
    in_ = Image::Of(operands.in(0).shape), out_ = Image::Of(operands.out(0).shape);
    windows_.Configure(sizes);
    const Shape& weight = operands.in(1).shape;
    Require(in_.channels > 0 && out_.channels % in_.channels == 0 && in_.batch == out_.batch,
            "the channels of a depthwise convolution");
    Require(weight.rank == 2 && weight[0] == windows_.taps() && weight[1] == out_.channels,
            "the weight of a depthwise convolution");
    const int64_t pair = HWY_DYNAMIC_DISPATCH(PairHere)();
    pitch_ = RoundUp(out_.channels, pair);
    block_ = RoundUp(std::min(kBlock, pitch_), pair);
    blocks_ = (pitch_ + block_ - 1) / block_;
    frame_width_ = (out_.sizes[2] - 1) * windows_.strides[2] + (windows_.kernel[2] - 1) * windows_.dilations[2] + 1;
    const int64_t reach = (windows_.kernel[1] - 1) * windows_.dilations[1] + 1;
    const int64_t line = windows_.kernel[0] * frame_width_ * block_ * static_cast<int64_t>(sizeof(float));
    band_ = std::max<int64_t>(1, (kFrameBytes / std::max<int64_t>(line, 1) - reach) / windows_.strides[1] + 1);
    band_ = std::min(band_, std::max<int64_t>(out_.sizes[1], 1));
    auto tasks = [&] {
      bands_ = (out_.sizes[1] + band_ - 1) / band_;
      return out_.batch * out_.sizes[0] * bands_ * blocks_;
    };
    while (tasks() < 4 * threads && threads > 1 && band_ > 4) band_ = (band_ + 1) / 2;
    tasks();
    frame_rows_ = (band_ - 1) * windows_.strides[1] + reach;
    weight_floats_ = RoundUp(windows_.taps() * pitch_ + block_, 16);
    sums_floats_ = RoundUp(out_.sizes[2] * block_, 16);
    per_thread_ = sums_floats_ + RoundUp(windows_.kernel[0] * frame_rows_ * frame_width_ * block_, 16);
    return sizeof(float) * static_cast<size_t>(weight_floats_ + per_thread_ * threads);
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    if (out_.batch * out_.pixels() * out_.channels == 0) return;
    epilogue_.Bind(operands, 2, out_.channels);
    float* weight = reinterpret_cast<float*>(workspace.scratch);
    const Tensor& packed = operands.in(1);
    std::fill(weight, weight + weight_floats_, 0.0f);
    for (int64_t t = 0; t < windows_.taps(); ++t) {
      const char* from = packed.as<char>() + t * out_.channels * static_cast<int64_t>(SizeOf(packed.dtype));
      LoadTile(packed.dtype, from, 1, weight + t * pitch_, static_cast<size_t>(out_.channels));
    }
    auto task = [&](int64_t index, int thread) {
      DepthwiseTask t;
      const int64_t block = index % blocks_, band = index / blocks_ % bands_;
      const int64_t plane = index / blocks_ / bands_;
      t.x = &operands.in(0);
      t.image = plane / out_.sizes[0], t.plane = plane % out_.sizes[0];
      t.row = band * band_, t.rows = std::min(band_, out_.sizes[1] - t.row);
      t.channel = block * block_, t.channels = std::min(block_, out_.channels - t.channel);
      t.block = std::min(block_, pitch_ - t.channel);
      t.multiplier = out_.channels / in_.channels;
      t.in = &in_, t.windows = &windows_;
      t.out_width = out_.sizes[2];
      t.weight = weight + t.channel, t.weight_pitch = pitch_;
      t.frame_rows = (t.rows - 1) * windows_.strides[1] + (windows_.kernel[1] - 1) * windows_.dilations[1] + 1;
      t.frame_width = frame_width_;
      t.sums = weight + weight_floats_ + thread * per_thread_;
      t.frame = t.sums + sums_floats_;
      HWY_DYNAMIC_DISPATCH(FillFrameOf)(t);
      for (int64_t r = 0; r < t.rows; ++r) {
        HWY_DYNAMIC_DISPATCH(SumRow)(t, r);
        const int64_t row = (plane * out_.sizes[1] + t.row + r) * out_.sizes[2];
        epilogue_.FinishRows(t.sums, t.block, row, out_.sizes[2], t.channel, static_cast<size_t>(t.channels), operands);
      }
    };
    workspace.Parallel(out_.batch * out_.sizes[0] * bands_ * blocks_, task);
  }

  double flops() const override {
    return 2.0 * static_cast<double>(out_.batch * out_.pixels() * out_.channels * windows_.taps());
  }
  double constant_bytes() const override { return static_cast<double>(windows_.taps() * out_.channels * 4); }

 private:
  Windows windows_;
  Epilogue epilogue_;
  Image in_, out_;
  int64_t pitch_ = 0, block_ = 0, blocks_ = 0, band_ = 1, bands_ = 0, frame_rows_ = 0, frame_width_ = 0;
  int64_t weight_floats_ = 0, sums_floats_ = 0, per_thread_ = 0;
};

const RegisterKernel depthwise("depthwise", [](const Attributes& a) { return std::make_unique<Depthwise>(a); });

}  // namespace
}  // namespace gristmill
#endif  // HWY_ONCE
