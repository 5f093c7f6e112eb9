// Convolutions of images with few channels, such as a network's first, from planes: [N, C, H, W] to [N, H, W, O].
//
// What a pixel meets under one tap of one channel stands in a line of a plane, one stride after what the pixel before it
// meets. So a tile of the product reads its operand where the lines stand, and no matrix of windows is made: of each
// block of a result's line, the lines under it are widened once, with zeros where they leave the image.
#include <algorithm>

#include "kernels/conv/image.h"
#include "kernels/gemm/gemm.h"

#ifndef GRISTMILL_PLANES_ONCE
#define GRISTMILL_PLANES_ONCE
namespace gristmill {

// Pixels of one line of the result: tap t of pixel i is lines[taps[t] + i·step].
struct PlanesBlock {
  const float* lines;
  const int64_t* taps;
  int64_t count, step, pixels;
};

}  // namespace gristmill
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/conv/planes.cc"
#include "simd/foreach_target.h"
#include "simd/simd.h"
#include "simd/tiles.h"

GRISTMILL_SIMD_BEGIN

template <int R>
HWY_INLINE void PixelTile(const PlanesBlock& block, int64_t first, const float* HWY_RESTRICT b, float* HWY_RESTRICT c,
                          int64_t ldc) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(Lanes()), step = block.step;
  VF left[R], right[R];
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) left[i] = right[i] = hn::Zero(d);
  for (int64_t t = 0; t < block.count; ++t, b += 2 * lanes) {
    const VF b0 = hn::LoadU(d, b), b1 = hn::LoadU(d, b + lanes);
    const float* a = block.lines + block.taps[t] + first * step;
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const VF x = hn::Set(d, a[i * step]);
      left[i] = hn::MulAdd(x, b0, left[i]);
      right[i] = hn::MulAdd(x, b1, right[i]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) {
    hn::StoreU(left[i], d, c + (first + i) * ldc);
    hn::StoreU(right[i], d, c + (first + i) * ldc + lanes);
  }
}

// One panel of columns. The pixels of the last, shorter tile are done by halves.
template <int R>
void PixelTiles(const PlanesBlock& block, int64_t first, const float* b, float* c, int64_t ldc) {
  for (; first + R <= block.pixels; first += R) PixelTile<R>(block, first, b, c, ldc);
  if constexpr (R > 1) PixelTiles<R / 2>(block, first, b, c, ldc);
}

void MultiplyPixels(const PlanesBlock& block, const float* b, float* c, int64_t ldc) {
  PixelTiles<kTileRows>(block, 0, b, c, ldc);
}

// Widens `count` elements of a line from `start` on, zeros where they lie outside.
void WidenLine(DType dtype, const void* line, int64_t size, int64_t start, int64_t count, float* to) {
  const int64_t low = std::clamp<int64_t>(-start, 0, count), high = std::clamp<int64_t>(size - start, low, count);
  std::fill(to, to + low, 0.0f);
  if (dtype == DType::kF16) {
    ConvertRun(static_cast<const half*>(line) + start + low, to + low, static_cast<size_t>(high - low));
  } else {
    ConvertRun(static_cast<const float*>(line) + start + low, to + low, static_cast<size_t>(high - low));
  }
  std::fill(to + high, to + count, 0.0f);
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {

HWY_EXPORT(MultiplyPixels);
HWY_EXPORT(WidenLine);

namespace {

// Inputs: x, then the epilogue's operands. "weight" is a packed float32 matrix [C·taps, O].
class PlanesConvolution : public Kernel {
 public:
  explicit PlanesConvolution(const Attributes& attributes)
      : windows_(attributes),
        weight_(attributes.prepared<PackedMatrix>("weight")),
        epilogue_(Epilogue::From(attributes)) {
    Require(weight_ != nullptr && weight_->dtype == DType::kF32 && weight_->decoder == nullptr,
            "a convolution of planes needs its weight");
    Require(weight_->k <= kDepth && windows_.kernel[0] == 1, "windows of one block over two axes");
  }

  size_t Configure(const Operands& operands, const SizeTable& sizes, int threads) override {
    const Shape& planes = operands.in(0).shape;
    Require(planes.rank >= 3 && planes.rank <= 4, "planes have one or two axes");
    windows_.Configure(sizes);
    batch_ = planes[0], channels_ = planes[1];
    height_ = planes.rank == 4 ? planes[2] : 1, width_ = planes[planes.rank - 1];
    result_ = Image::Of(operands.out(0).shape);
    RequireWindows(result_);
    Require(result_.batch == batch_ && result_.sizes[0] == 1 && result_.channels == weight_->n &&
                weight_->k == channels_ * windows_.taps(),
            "the channels of a convolution");

    const int64_t line = result_.sizes[2], columns = weight_->panels() * weight_->width, tile = TileRows();
    const int64_t most = std::clamp(kBlockFloats / std::max<int64_t>(columns, 1) / tile * tile, tile, kMostPixels);
    blocks_ = std::max<int64_t>((line + most - 1) / most, 1);
    pixels_ = ((line + blocks_ - 1) / blocks_ + tile - 1) / tile * tile;
    pitch_ = (pixels_ - 1) * windows_.strides[2] + (windows_.kernel[2] - 1) * windows_.dilations[2] + 1 + kRoom;
    taps_.clear();
    for (int64_t c = 0; c < channels_; ++c) {
      for (int64_t y = 0; y < windows_.kernel[1]; ++y) {
        for (int64_t x = 0; x < windows_.kernel[2]; ++x) {
          taps_.push_back((c * windows_.kernel[1] + y) * pitch_ + x * windows_.dilations[2]);
        }
      }
    }
    per_thread_ = sizeof(float) * static_cast<size_t>(channels_ * windows_.kernel[1] * pitch_ + pixels_ * columns + kRoom);
    return per_thread_ * static_cast<size_t>(threads);
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    epilogue_.Bind(operands, 1, weight_->n);
    if (operands.out(0).shape.size() == 0) return;
    workspace.Parallel(batch_ * result_.sizes[1] * blocks_, [&](int64_t index, int thread) {
      RunBlock(index / blocks_, index % blocks_ * pixels_,
               reinterpret_cast<float*>(workspace.scratch + static_cast<size_t>(thread) * per_thread_), operands);
    });
  }

  double flops() const override {
    return 2.0 * static_cast<double>(batch_ * result_.pixels() * weight_->k * weight_->n);
  }
  double constant_bytes() const override { return static_cast<double>(weight_->bytes()); }
  std::string variant() const override { return "from planes"; }

 private:
  static constexpr int64_t kMostPixels = 168;       // of a block: whole tiles of any instruction set
  static constexpr int64_t kBlockFloats = 1 << 14;  // of a block of the result, which stays in the second-level cache
  static constexpr int64_t kRoom = 16;              // for whole vectors past the end of a line

  // Pixels from `first` on of a line, counted over all images.
  void RunBlock(int64_t line, int64_t first, float* lines, const Operands& operands) const {
    const int64_t count = std::min(pixels_, result_.sizes[2] - first);
    if (count <= 0) return;
    const Tensor& x = operands.in(0);
    const int64_t image = line / result_.sizes[1], top = line % result_.sizes[1] * windows_.strides[1] - windows_.before[1];
    const int64_t start = first * windows_.strides[2] - windows_.before[2];
    float* to = lines;
    for (int64_t c = 0; c < channels_; ++c) {
      for (int64_t tap = 0; tap < windows_.kernel[1]; ++tap, to += pitch_) {
        const int64_t y = top + tap * windows_.dilations[1];
        const bool inside = y >= 0 && y < height_;
        const int64_t at = ((image * channels_ + c) * height_ + (inside ? y : 0)) * width_;
        HWY_DYNAMIC_DISPATCH(WidenLine)
        (x.dtype, x.as<char>() + at * static_cast<int64_t>(SizeOf(x.dtype)), inside ? width_ : 0, start, pitch_ - kRoom, to);
      }
    }
    float* result = to;
    const int64_t columns = weight_->panels() * weight_->width;
    const PlanesBlock block{lines, taps_.data(), weight_->k, windows_.strides[2], count};
    for (int64_t p = 0; p < weight_->panels(); ++p) {
      HWY_DYNAMIC_DISPATCH(MultiplyPixels)
      (block, reinterpret_cast<const float*>(weight_->panel(p)), result + p * weight_->width, columns);
    }
    epilogue_.FinishRows(result, columns, line * result_.sizes[2] + first, count, 0, static_cast<size_t>(weight_->n), operands);
  }

  Windows windows_;
  std::shared_ptr<PackedMatrix> weight_;
  Epilogue epilogue_;
  Image result_;
  std::vector<int64_t> taps_;
  int64_t batch_ = 0, channels_ = 0, height_ = 0, width_ = 0;
  int64_t blocks_ = 0, pixels_ = 0, pitch_ = 0;  // of a line of the result; floats of a line of the operand
  size_t per_thread_ = 0;
};

const RegisterKernel planes("conv_planes", [](const Attributes& a) { return std::make_unique<PlanesConvolution>(a); });

}  // namespace
}  // namespace gristmill
#endif  // HWY_ONCE
