// Resizing of channels-last images by nearest neighbours or linear interpolation.
#include <algorithm>

#include "kernels/conv/image.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/pooling/resize.cc"
#include "simd/foreach_target.h"
#include "simd/simd.h"

GRISTMILL_SIMD_BEGIN

// (a·(1-down) + c·down)·(1-across) + (b·(1-down) + d·down)·across, where a b are the upper and c d the lower pixels:
// float16 in float32, float32 in float64, since the sum of terms of both signs may be small.
void BlendPixel(const half* a, const half* b, const half* c, const half* d, double down, double across, half* to,
                size_t count) {
  const F32 tag;
  const VF lower = hn::Set(tag, static_cast<float>(down)), upper = hn::Set(tag, static_cast<float>(1 - down));
  const VF right = hn::Set(tag, static_cast<float>(across)), left = hn::Set(tag, static_cast<float>(1 - across));
  auto blend = [&](VF a, VF b, VF c, VF d) {
    const VF first = hn::Add(hn::Mul(a, upper), hn::Mul(c, lower));
    const VF second = hn::Add(hn::Mul(b, upper), hn::Mul(d, lower));
    return hn::Add(hn::Mul(first, left), hn::Mul(second, right));
  };
  size_t i = 0;
  for (; i + Lanes() <= count; i += Lanes()) {
    StoreF(blend(LoadF(a + i), LoadF(b + i), LoadF(c + i), LoadF(d + i)), to + i);
  }
  if (i == count) return;
  const size_t n = count - i;
  StoreFirst(blend(LoadFirst(a + i, n), LoadFirst(b + i, n), LoadFirst(c + i, n), LoadFirst(d + i, n)), to + i, n);
}

void BlendPixel(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, const float* HWY_RESTRICT c,
                const float* HWY_RESTRICT d, double down, double across, float* HWY_RESTRICT to, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const double first = a[i] * (1 - down) + c[i] * down, second = b[i] * (1 - down) + d[i] * down;
    to[i] = static_cast<float>(first * (1 - across) + second * across);
  }
}

void BlendAny(DType dtype, const void* a, const void* b, const void* c, const void* d, double down, double across,
              void* to, size_t count) {
  auto as = [&]<typename T>(T*) {
    BlendPixel(static_cast<const T*>(a), static_cast<const T*>(b), static_cast<const T*>(c), static_cast<const T*>(d),
               down, across, static_cast<T*>(to), count);
  };
  if (dtype == DType::kF16) return as(static_cast<half*>(nullptr));
  as(static_cast<float*>(nullptr));
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {
namespace {

HWY_EXPORT(BlendAny);

// Where the places of a result lie in the operand along one axis.
struct Samples {
  std::vector<int64_t> low, high;
  std::vector<double> weight;  // of `high`
};

// x [N, H, W, C] to [N, h, w, C]. "grid" names the sampling mode as the ops' module documents them, or `floor` for
// ⌊i·n/m⌋; "linear" chooses interpolation.
class Resize : public Kernel {
 public:
  explicit Resize(const Attributes& attributes)
      : grid_(attributes.get<std::string>("grid")), linear_(attributes.get<int64_t>("linear") != 0) {}

  size_t Configure(const Operands& operands, const SizeTable&, int) override {
    in_ = Image::Of(operands.in(0).shape), out_ = Image::Of(operands.out(0).shape);
    Require(operands.in(0).shape.rank == 4, "images of two axes are resized");
    Require(in_.batch == out_.batch && in_.channels == out_.channels, "resizing keeps batch and channels");
    const DType dtype = operands.in(0).dtype;
    Require(dtype == operands.out(0).dtype, "resizing keeps the type");
    Require(!linear_ || dtype == DType::kF16 || dtype == DType::kF32, "interpolation is of floats");
    for (size_t i = 0; i < 2; ++i) samples_[i] = SamplesOf(in_.sizes[1 + i], out_.sizes[1 + i]);
    return 0;
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    const Tensor &x = operands.in(0), &y = operands.out(0);
    if (y.shape.size() == 0) return;
    const int64_t pixel = in_.channels * static_cast<int64_t>(SizeOf(x.dtype)), row = in_.sizes[2] * pixel;
    auto task = [&](int64_t line, int) {
      const int64_t image = line / out_.sizes[1], i = line % out_.sizes[1];
      const char* from = x.as<char>() + image * in_.sizes[1] * row;
      const char *upper = from + samples_[0].low[i] * row, *lower = from + samples_[0].high[i] * row;
      char* to = y.as<char>() + line * out_.sizes[2] * pixel;
      for (int64_t j = 0; j < out_.sizes[2]; ++j, to += pixel) {
        const int64_t a = samples_[1].low[j] * pixel, b = samples_[1].high[j] * pixel;
        if (!linear_) {
          std::memcpy(to, upper + a, static_cast<size_t>(pixel));
          continue;
        }
        HWY_DYNAMIC_DISPATCH(BlendAny)(x.dtype, upper + a, upper + b, lower + a, lower + b, samples_[0].weight[i],
                                       samples_[1].weight[j], to, static_cast<size_t>(in_.channels));
      }
    };
    workspace.Parallel(out_.batch * out_.sizes[1], task);
  }

 private:
  Samples SamplesOf(int64_t size, int64_t count) const {
    Require(size > 0 && count < (int64_t{1} << 30) && size < (int64_t{1} << 30), "an axis to resize has elements");
    Samples made;
    for (int64_t i = 0; i < count; ++i) {
      int64_t point, over;
      if (grid_ == "ALIGN_CORNERS" && count == 1) {
        point = size - 1, over = 2;
      } else if (grid_ == "ALIGN_CORNERS" || grid_ == "STRICT_ALIGN_CORNERS") {
        point = i * (size - 1), over = std::max<int64_t>(1, count - 1);
      } else if (grid_ == "OFFSET_CORNERS") {
        point = (2 * i + 1) * std::max<int64_t>(1, size - 1), over = 2 * count;
      } else if (grid_ == "UNALIGN_CORNERS" || (grid_ == "DEFAULT" && !linear_)) {
        point = (2 * i + 1) * size - count, over = 2 * count;
      } else {
        Require(grid_ == "DEFAULT" || grid_ == "floor", "a grid of that name");
        point = i * size, over = count;
      }
      point = std::clamp<int64_t>(point, 0, (size - 1) * over);
      const int64_t low = linear_ || grid_ == "floor" ? point / over : std::min((2 * point + over) / (2 * over), size - 1);
      made.low.push_back(low);
      made.high.push_back(std::min(low + 1, size - 1));
      made.weight.push_back(static_cast<double>(point - low * over) / static_cast<double>(over));
    }
    return made;
  }

  std::string grid_;
  bool linear_;
  Image in_, out_;
  Samples samples_[2];
};

const RegisterKernel resize("resize", [](const Attributes& a) { return std::make_unique<Resize>(a); });

}  // namespace
}  // namespace gristmill
#endif  // HWY_ONCE
