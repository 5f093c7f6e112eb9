#include "kernels/conv/winograd.h"

#include <algorithm>

#include "kernels/conv/image.h"
#include "kernels/gemm/gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/conv/winograd.cc"
#include "simd/foreach_target.h"
#include "simd/simd.h"
#include "simd/transpose.h"

#ifndef GRISTMILL_WINOGRAD_ONCE
#define GRISTMILL_WINOGRAD_ONCE
namespace gristmill {

// A line of tiles: `tiles` neighbours from the left border to the right one.
struct TileLine {
  int64_t tiles, height, width;  // of the image that is read
  int64_t top, left;             // its pixel at the line's first corner, perhaps outside
  int64_t channel, channels;     // which of `pitch` channels
  int64_t pitch;
  int64_t place_stride, ld;      // floats between places, and between tiles, of what is transformed
};

}  // namespace gristmill
#endif

GRISTMILL_SIMD_BEGIN

// The one-dimensional transforms; applied to columns, then to rows.
template <int M>
struct Filter;

template <>
struct Filter<2> {
  static HWY_INLINE void Pixels(const VF* d, VF* t) {
    t[0] = hn::Sub(d[0], d[2]);
    t[1] = hn::Add(d[1], d[2]);
    t[2] = hn::Sub(d[2], d[1]);
    t[3] = hn::Sub(d[1], d[3]);
  }
  static HWY_INLINE void Weights(const VF* g, VF* u) {
    const VF half = hn::Set(F32(), 0.5f), ends = hn::Add(g[0], g[2]);
    u[0] = g[0];
    u[1] = hn::Mul(half, hn::Add(ends, g[1]));
    u[2] = hn::Mul(half, hn::Sub(ends, g[1]));
    u[3] = g[2];
  }
  static HWY_INLINE void Results(const VF* m, VF* y) {
    y[0] = hn::Add(m[0], hn::Add(m[1], m[2]));
    y[1] = hn::Sub(hn::Sub(m[1], m[2]), m[3]);
  }
};

template <>
struct Filter<4> {
  static HWY_INLINE void Pixels(const VF* d, VF* t) {
    const F32 f;
    const VF two = hn::Set(f, 2.0f), four = hn::Set(f, 4.0f), five = hn::Set(f, 5.0f);
    t[0] = hn::MulAdd(four, d[0], hn::NegMulAdd(five, d[2], d[4]));
    const VF a = hn::NegMulAdd(four, d[2], d[4]), b = hn::NegMulAdd(four, d[1], d[3]);
    t[1] = hn::Add(a, b);
    t[2] = hn::Sub(a, b);
    const VF c = hn::Sub(d[4], d[2]), e = hn::Sub(d[3], d[1]);
    t[3] = hn::MulAdd(two, e, c);
    t[4] = hn::NegMulAdd(two, e, c);
    t[5] = hn::MulAdd(four, d[1], hn::NegMulAdd(five, d[3], d[5]));
  }
  static HWY_INLINE void Weights(const VF* g, VF* u) {
    const F32 f;
    const VF ends = hn::Add(g[0], g[2]), far = hn::MulAdd(hn::Set(f, 4.0f), g[2], g[0]), twice = hn::Add(g[1], g[1]);
    u[0] = hn::Mul(g[0], hn::Set(f, 0.25f));
    u[1] = hn::Mul(hn::Add(ends, g[1]), hn::Set(f, -1.0f / 6));
    u[2] = hn::Mul(hn::Sub(ends, g[1]), hn::Set(f, -1.0f / 6));
    u[3] = hn::Mul(hn::Add(far, twice), hn::Set(f, 1.0f / 24));
    u[4] = hn::Mul(hn::Sub(far, twice), hn::Set(f, 1.0f / 24));
    u[5] = g[2];
  }
  static HWY_INLINE void Results(const VF* m, VF* y) {
    const F32 f;
    const VF s = hn::Add(m[1], m[2]), d = hn::Sub(m[1], m[2]), far = hn::Add(m[3], m[4]), tilt = hn::Sub(m[3], m[4]);
    y[0] = hn::Add(m[0], hn::Add(s, far));
    y[1] = hn::MulAdd(hn::Set(f, 2.0f), tilt, d);
    y[2] = hn::MulAdd(hn::Set(f, 4.0f), far, s);
    y[3] = hn::Add(hn::MulAdd(hn::Set(f, 8.0f), tilt, d), m[5]);
  }
};

// Transforms the pixels under a line of tiles to values[place][tile][channel]. `zeros` stands for pixels outside.
template <int M, typename T>
void TransformPixels(const TileLine& line, const T* image, const T* zeros, float* values) {
  constexpr int kSide = M + 2;
  const int64_t lanes = static_cast<int64_t>(Lanes());
  for (int64_t tile = 0; tile < line.tiles; ++tile) {
    const T* pixels[kSide * kSide];
    for (int i = 0; i < kSide; ++i) {
      for (int j = 0; j < kSide; ++j) {
        const int64_t y = line.top + i, x = line.left + tile * M + j;
        const bool inside = y >= 0 && y < line.height && x >= 0 && x < line.width;
        pixels[i * kSide + j] = inside ? image + (y * line.width + x) * line.pitch : zeros;
      }
    }
    float* to = values + tile * line.ld;
    for (int64_t c = 0; c < line.channels; c += lanes) {
      const size_t part = static_cast<size_t>(std::min(lanes, line.channels - c));
      const int64_t channel = line.channel + c;
      auto load = [&](const T* p) {
        return part == static_cast<size_t>(lanes) ? LoadF(p + channel) : LoadFirst(p + channel, part);
      };
      VF columns[kSide][kSide];  // [column][place]
#pragma GCC unroll 6
      for (int j = 0; j < kSide; ++j) {
        VF d[kSide];
#pragma GCC unroll 6
        for (int i = 0; i < kSide; ++i) d[i] = load(pixels[i * kSide + j]);
        Filter<M>::Pixels(d, columns[j]);
      }
#pragma GCC unroll 6
      for (int i = 0; i < kSide; ++i) {
        VF d[kSide], t[kSide];
#pragma GCC unroll 6
        for (int j = 0; j < kSide; ++j) d[j] = columns[j][i];
        Filter<M>::Pixels(d, t);
#pragma GCC unroll 6
        for (int j = 0; j < kSide; ++j) StoreF(t[j], to + (i * kSide + j) * line.place_stride + channel);
      }
    }
  }
}

// Transforms products[place][tile][channel] back, to rows of M lines of tiles·M pixels, `block` floats for each pixel.
template <int M>
void TransformResults(const TileLine& line, const float* products, int64_t block, float* to) {
  constexpr int kSide = M + 2;
  const int64_t lanes = static_cast<int64_t>(Lanes());
  for (int64_t tile = 0; tile < line.tiles; ++tile) {
    const float* from = products + tile * line.ld + line.channel;
    for (int64_t c = 0; c < line.channels; c += lanes) {
      VF columns[kSide][M];
#pragma GCC unroll 6
      for (int j = 0; j < kSide; ++j) {
        VF m[kSide];
#pragma GCC unroll 6
        for (int i = 0; i < kSide; ++i) m[i] = LoadF(from + (i * kSide + j) * line.place_stride + c);
        Filter<M>::Results(m, columns[j]);
      }
#pragma GCC unroll 4
      for (int i = 0; i < M; ++i) {
        VF m[kSide], y[M];
#pragma GCC unroll 6
        for (int j = 0; j < kSide; ++j) m[j] = columns[j][i];
        Filter<M>::Results(m, y);
#pragma GCC unroll 4
        for (int j = 0; j < M; ++j) StoreF(y[j], to + ((i * line.tiles + tile) * M + j) * block + c);
      }
    }
  }
}

// Transforms the kernels of one panel of result channels, to where its columns of the matrices are.
template <int M>
void TransformKernels(const half* weight, int64_t panel, const WinogradWeight& to, char* matrices) {
  constexpr int kSide = M + 2;
  const int64_t lanes = static_cast<int64_t>(Lanes()), width = to.shape.width, channels = to.channels;
  const int64_t columns = std::min(width, to.made - panel * width);
  constexpr int64_t kAtOnce = 8;
  HWY_ALIGN uint16_t run[kAtOnce * 9 * HWY_MAX_BYTES / 2];  // [channel][row of the kernel][column of it][result channel]
  float* first = reinterpret_cast<float*>(matrices) + panel * channels * width;
  const int64_t matrix = to.shape.panels() * channels * width;
  const uint16_t* from = reinterpret_cast<const uint16_t*>(weight);
  for (int64_t c = 0; c < channels; ++c) {
    if (c % kAtOnce == 0) {
      PackRows(from + 9 * c, 1, 9 * channels, 9 * std::min(kAtOnce, channels - c), columns, width, run);
    }
    const half* kernel = reinterpret_cast<const half*>(run + c % kAtOnce * 9 * width);
    for (int64_t v = 0; v < width; v += lanes) {
      VF rows[3][kSide];  // [row of the kernel][place]
#pragma GCC unroll 3
      for (int i = 0; i < 3; ++i) {
        const half* row = kernel + 3 * i * width + v;
        const VF g[3] = {LoadF(row), LoadF(row + width), LoadF(row + 2 * width)};
        Filter<M>::Weights(g, rows[i]);
      }
#pragma GCC unroll 6
      for (int j = 0; j < kSide; ++j) {
        const VF g[3] = {rows[0][j], rows[1][j], rows[2][j]};
        VF u[kSide];
        Filter<M>::Weights(g, u);
#pragma GCC unroll 6
        for (int i = 0; i < kSide; ++i) {
          StoreF(u[i], first + (i * kSide + j) * matrix + c * width + v);
        }
      }
    }
  }
}

void PixelsOf(int64_t tile, DType dtype, const TileLine& line, const char* image, const char* zeros, float* values) {
  auto run = [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    const T *x = reinterpret_cast<const T*>(image), *zero = reinterpret_cast<const T*>(zeros);
    tile == 2 ? TransformPixels<2>(line, x, zero, values) : TransformPixels<4>(line, x, zero, values);
  };
  dtype == DType::kF16 ? run(static_cast<half*>(nullptr)) : run(static_cast<float*>(nullptr));
}
void ResultsOf(int64_t tile, const TileLine& line, const float* products, int64_t block, float* to) {
  tile == 2 ? TransformResults<2>(line, products, block, to) : TransformResults<4>(line, products, block, to);
}
void KernelsOf(const char* weight, int64_t panel, const WinogradWeight& to, char* matrices) {
  const half* from = reinterpret_cast<const half*>(weight);
  to.tile == 2 ? TransformKernels<2>(from, panel, to, matrices) : TransformKernels<4>(from, panel, to, matrices);
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {

HWY_EXPORT(PixelsOf);
HWY_EXPORT(ResultsOf);
HWY_EXPORT(KernelsOf);

WinogradWeight::WinogradWeight(int64_t made, int64_t channels, int64_t tile) : tile(tile), channels(channels), made(made) {
  Require(tile == 2 || tile == 4, "Winograd tiles are 2 or 4 wide");
  shape.k = channels, shape.n = made, shape.width = PanelWidth();
}

namespace {

int64_t KernelBytes(const WinogradWeight& to) { return to.channels * 9 * static_cast<int64_t>(SizeOf(DType::kF16)); }

std::shared_ptr<WinogradWeight> Untransformed(int64_t made, int64_t channels, int64_t tile) {
  auto to = std::make_shared<WinogradWeight>(made, channels, tile);
  to->data = SharedBlock(to->bytes());
  return to;
}

// All panels' kernels, which are in memory.
void TransformAll(const char* weight, const WinogradWeight& to, char* matrices, int threads) {
  ThreadPool::Global().Run(to.shape.panels(), threads, [&](int64_t panel, int) {
    HWY_DYNAMIC_DISPATCH(KernelsOf)(weight + panel * to.shape.width * KernelBytes(to), panel, to, matrices);
  });
}

std::shared_ptr<WinogradWeight> TransformInBackground(const FileRange& file, int64_t made, int64_t channels, int64_t tile,
                                                      std::string name) {
  auto to = Untransformed(made, channels, tile);
  to->data.Load(Loading::Begin(std::move(name), to->shape.panels(), [=](int64_t panel) {
    const int64_t first = panel * to->shape.width, count = std::min(to->shape.width, made - first), each = KernelBytes(*to);
    Buffer room;
    const char* kernels = BytesOf(file, first * each, count * each, room);
    if (kernels == nullptr) return false;
    HWY_DYNAMIC_DISPATCH(KernelsOf)(kernels, panel, *to, to->data.as<char>());
    return file.Done(first * each, count * each);
  }));
  return to;
}

class MappedKernels : public WinogradWeight {
 public:
  MappedKernels(const FileRange& file, int64_t made, int64_t channels, int64_t tile, std::string name)
      : WinogradWeight(made, channels, tile), file_(file), name_(std::move(name)) {
    data.Load(Loading::Begin(name_, 0, nullptr, file.mapping()));
  }

  void Used() const override {
    transformed_.Begin([this] { return TransformInBackground(file_, made, channels, tile, name_); });
  }
  size_t room() const override { return transformed_.Made() == nullptr ? bytes() : 0; }
  char* Transformed(char* room, const Workspace& workspace) const override {
    if (const WinogradWeight* made = transformed_.Made(); made != nullptr) return made->data.as<char>();
    TransformAll(file_.data(), *this, room, workspace.threads);
    return room;
  }

 private:
  FileRange file_;
  std::string name_;
  mutable Later<WinogradWeight> transformed_;
};

}  // namespace

std::shared_ptr<WinogradWeight> TransformWeight(const void* weight, int64_t made, int64_t channels, int64_t tile) {
  auto to = Untransformed(made, channels, tile);
  TransformAll(static_cast<const char*>(weight), *to, to->data.as<char>(), DefaultThreads());
  return to;
}

std::shared_ptr<WinogradWeight> TransformWeight(const FileRange& file, int64_t made, int64_t channels, int64_t tile,
                                                std::string name) {
  if (file.mapping() == nullptr || DefaultThreads() == 1) {
    return TransformInBackground(file, made, channels, tile, std::move(name));
  }
  return std::make_shared<MappedKernels>(file, made, channels, tile, std::move(name));
}

namespace {

constexpr int64_t kBlock = 64;                              // channels of a transform's task
constexpr int64_t kGroupBytes = int64_t{6} << 20;           // of transformed values at a time: they stay in a shared cache
constexpr int64_t kPanels = 16;                             // of weights, of one product's task

// x [N, H, W, C] to [N, H', W', O] by 3×3 windows next to each other. Inputs: x, then the epilogue's operands.
class Winograd : public Kernel {
 public:
  explicit Winograd(const Attributes& attributes)
      : windows_(attributes),
        weight_(attributes.prepared<WinogradWeight>("weight")),
        epilogue_(Epilogue::From(attributes)) {
    Require(weight_ != nullptr, "a convolution needs its weight");
    Require(windows_.kernel == Spatial({3, 3}, 1) && windows_.strides == Spatial({}, 1) &&
                windows_.dilations == Spatial({}, 1),
            "Winograd's filters are 3×3 windows next to each other");
  }

  size_t Configure(const Operands& operands, const SizeTable& sizes, int threads) override {
    in_ = Image::Of(operands.in(0).shape), out_ = Image::Of(operands.out(0).shape);
    RequireWindows(out_);
    windows_.Configure(sizes);
    Require(in_.sizes[0] == 1 && in_.batch == out_.batch && in_.channels == weight_->channels &&
                out_.channels == weight_->made,
            "the channels of a convolution");
    const int64_t tile = weight_->tile, width = weight_->shape.width;
    across_ = (out_.sizes[2] + tile - 1) / tile;
    down_ = (out_.sizes[1] + tile - 1) / tile;
    // Rows of values have a pitch that is no power of two: they would share cache sets.
    ldv_ = RoundUp(in_.channels, 16) + 16;
    ldm_ = RoundUp(out_.channels, width) + 16;
    const int64_t line = std::max<int64_t>(across_, 1) * weight_->places() * (ldv_ + ldm_) * int64_t{sizeof(float)};
    lines_ = std::clamp<int64_t>(kGroupBytes / line, 1, std::max<int64_t>(out_.batch * down_, 1));
    const int64_t tiles = lines_ * across_;
    values_ = RoundUp(tiles * ldv_ + 16, 16), products_ = RoundUp(tiles * ldm_ + 16, 16);
    zeros_ = RoundUp(in_.channels + 16, 16);
    // A thread needs room for results, or for the tiles of a product.
    own_ = RoundUp(std::max(tile * across_ * tile * kBlock + 64, TilesFloats(kMostRows, kDepth)), 16);
    room_ = Room(weight_->room());
    return room_ + sizeof(float) * static_cast<size_t>((values_ + products_) * weight_->places() + zeros_ + own_ * threads);
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    if (out_.batch * out_.pixels() == 0) return;
    epilogue_.Bind(operands, 1, out_.channels);
    char* matrices = weight_->Transformed(workspace.scratch, workspace);
    float* values = reinterpret_cast<float*>(workspace.scratch + room_);
    float* products = values + values_ * weight_->places();
    float* zeros = products + products_ * weight_->places();
    std::fill(zeros, zeros + zeros_, 0.0f);
    for (int64_t first = 0; first < out_.batch * down_; first += lines_) {
      const int64_t lines = std::min(lines_, out_.batch * down_ - first);
      Pixels(operands.in(0), first, lines, zeros, values, workspace);
      Products(lines * across_, matrices, values, products, zeros + zeros_, workspace);
      Results(operands, first, lines, products, zeros + zeros_, workspace);
    }
  }

  double flops() const override {
    return 2.0 * static_cast<double>(out_.batch * down_ * across_ * weight_->places() * in_.channels * out_.channels);
  }
  double constant_bytes() const override { return static_cast<double>(weight_->bytes()); }
  std::string variant() const override {
    const std::string way = weight_->tile == 2 ? "F(2×2, 3×3)" : "F(4×4, 3×3)";
    return weight_->room() == 0 ? way : way + ", f16 weights in their file";
  }

 private:
  static int64_t RoundUp(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

  void Pixels(const Tensor& x, int64_t first, int64_t lines, const float* zeros, float* values,
              const Workspace& workspace) const {
    const int64_t blocks = (in_.channels + kBlock - 1) / kBlock;
    workspace.Parallel(lines * blocks, [&](int64_t index, int) {
      const int64_t line = index / blocks, channel = index % blocks * kBlock;
      const int64_t image = (first + line) / down_, top = (first + line) % down_ * weight_->tile - windows_.before[1];
      const TileLine task{across_, in_.sizes[1], in_.sizes[2], top, -windows_.before[2], channel,
                          std::min(kBlock, in_.channels - channel), in_.channels, values_, ldv_};
      const char* at = x.as<char>() + image * in_.pixels() * in_.channels * static_cast<int64_t>(SizeOf(x.dtype));
      HWY_DYNAMIC_DISPATCH(PixelsOf)(weight_->tile, x.dtype, task, at, reinterpret_cast<const char*>(zeros),
                                     values + line * across_ * ldv_);
    });
  }

  void Products(int64_t tiles, char* matrices, const float* values, float* products, float* own,
                const Workspace& workspace) const {
    const int64_t row_blocks = (tiles + kMostRows - 1) / kMostRows, each = (tiles + row_blocks - 1) / row_blocks;
    const int64_t panels = weight_->shape.panels(), column_blocks = (panels + kPanels - 1) / kPanels;
    workspace.Parallel(weight_->places() * column_blocks * row_blocks, [&](int64_t index, int thread) {
      const int64_t place = index / (column_blocks * row_blocks), row = index % row_blocks * each;
      const int64_t p0 = index / row_blocks % column_blocks * kPanels, p1 = std::min(p0 + kPanels, panels);
      const int64_t rows = std::min(each, tiles - row);
      const float* a = values + place * values_ + row * ldv_;
      float* c = products + place * products_ + row * ldm_ + p0 * weight_->shape.width;
      for (int64_t k = 0; k < in_.channels && rows > 0; k += kDepth) {
        MultiplyBlock(a + k, ldv_, rows, std::min(kDepth, in_.channels - k), weight_->At(matrices, place), k, p0, p1, c, ldm_,
                      k > 0, nullptr, own + own_ * thread);
      }
    });
  }

  void Results(const Operands& operands, int64_t first, int64_t lines, const float* products, float* own,
               const Workspace& workspace) const {
    const int64_t blocks = (out_.channels + kBlock - 1) / kBlock, tile = weight_->tile;
    workspace.Parallel(lines * blocks, [&](int64_t index, int thread) {
      const int64_t line = index / blocks, channel = index % blocks * kBlock;
      const int64_t image = (first + line) / down_, row = (first + line) % down_ * tile;
      const int64_t count = std::min(kBlock, out_.channels - channel);
      const TileLine task{across_, 0, 0, 0, 0, channel, count, 0, products_, ldm_};
      float* results = own + own_ * thread;
      HWY_DYNAMIC_DISPATCH(ResultsOf)(tile, task, products + line * across_ * ldm_, kBlock, results);
      for (int64_t y = 0; y < std::min(tile, out_.sizes[1] - row); ++y) {
        const int64_t pixel = (image * out_.sizes[1] + row + y) * out_.sizes[2];
        epilogue_.FinishRows(results + y * across_ * tile * kBlock, kBlock, pixel, out_.sizes[2], channel,
                             static_cast<size_t>(count), operands);
      }
    });
  }

  Windows windows_;
  std::shared_ptr<WinogradWeight> weight_;
  Epilogue epilogue_;
  Image in_, out_;
  int64_t across_ = 0, down_ = 0, lines_ = 1;          // tiles of a line, lines of an image, lines at a time
  int64_t ldv_ = 0, ldm_ = 0, values_ = 0, products_ = 0, zeros_ = 0, own_ = 0;  // floats
  size_t room_ = 0;  // bytes
};

const RegisterKernel winograd("winograd", [](const Attributes& a) { return std::make_unique<Winograd>(a); });

}  // namespace
}  // namespace gristmill
#endif  // HWY_ONCE
