// softmax(Q·Kᵀ/√E + mask)·V without the whole score matrix: scores of one block of keys at a time, with the running
// maximum and sum of each query (Milakov and Gimelshein 2018; Dao et al. 2022).
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/buffer.h"
#include "kernels/gemm/gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention/attention.cc"
#include "simd/foreach_target.h"
#include "simd/for_half.h"
#include "simd/sums.h"

#ifndef GRISTMILL_ATTENTION_ONCE
#define GRISTMILL_ATTENTION_ONCE
namespace gristmill {
// The running softmax of one query.
struct Running {
  float top, sum;
};
}  // namespace gristmill
#endif

GRISTMILL_SIMD_BEGIN

// Turns a block's scores into weights e^(score - top); returns by what earlier results shrink. Weights of float16 values
// take the exponential for float16, which is exact where a score is masked by -∞.
template <bool kHalf>
HWY_INLINE float Weigh(float* scores, size_t count, Running& running) {
  const F32 d;
  const size_t lanes = Lanes();
  const float block = ExtremeOf(scores, count, [](VF a, VF b) { return MaxNaN(a, b); });
  const float top = block > running.top || std::isnan(block) ? block : running.top;
  const float safe = top == -std::numeric_limits<float>::infinity() ? 0.0f : top;  // nothing to see so far
  auto weight = [shift = hn::Set(d, safe)](auto score) {
    const auto y = Sub(score, shift);
    if constexpr (kHalf) {
      return Exp2ForHalf(Mul(y, Number(kLog2OfE)));
    } else {
      return Each([](VF v) { return Exp(v); }, y);
    }
  };
  Several<4> sums = Filled<4>(hn::Zero(d));
  size_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    const auto weights = weight(LoadSeveral<4>(scores + i));
    StoreSeveral(weights, scores + i);
    sums = Add(sums, weights);
  }
  for (; i < count; i += lanes) {
    const VF weights = weight(hn::LoadU(d, scores + i));
    hn::StoreU(weights, d, scores + i);
    sums.v[0] = hn::Add(sums.v[0], hn::IfThenElseZero(hn::FirstN(d, count - i), weights));
  }
  const VF sum = hn::Add(hn::Add(sums.v[0], sums.v[1]), hn::Add(sums.v[2], sums.v[3]));
  const float shrink = hn::GetLane(Exp(hn::Set(d, running.top - safe)));
  running.sum = running.sum * shrink + hn::GetLane(hn::SumOfLanes(d, sum));
  running.top = top;
  return shrink;
}
float NextBlock(DType dtype, float* scores, size_t count, Running& running) {
  return dtype == DType::kF16 ? Weigh<true>(scores, count, running) : Weigh<false>(scores, count, running);
}

void ScaleRun(float* row, size_t count, float factor) {
  const VF f = hn::Set(F32(), factor);
  MapRun(row, row, count, [f](VF x) { return hn::Mul(x, f); });
}

void DivideRun(float* row, size_t count, float divisor) {
  const VF f = hn::Set(F32(), divisor);
  MapRun(row, row, count, [f](VF x) { return hn::Div(x, f); });
}

template <typename T>
float Dot(const float* a, const T* b, size_t count) {
  const F32 d;
  const size_t lanes = Lanes();
  VF s0 = hn::Zero(d), s1 = s0;
  size_t i = 0;
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    s0 = hn::MulAdd(hn::LoadU(d, a + i), LoadF(b + i), s0);
    s1 = hn::MulAdd(hn::LoadU(d, a + i + lanes), LoadF(b + i + lanes), s1);
  }
  for (; i < count; i += lanes) {
    const size_t n = std::min(lanes, count - i);
    s0 = hn::MulAdd(LoadFirst(a + i, n), LoadFirst(b + i, n), s0);
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(s0, s1)));
}

template <typename T>
void SumRows(const float* weights, const T* values, size_t width, size_t count, float* to) {
  const F32 d;
  const size_t lanes = Lanes();
  size_t i = 0;
  // Four vectors at a time stay in registers through all rows.
  for (; i + 4 * lanes <= width; i += 4 * lanes) {
    VF s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
    const T* row = values + i;
    for (size_t s = 0; s < count; ++s, row += width) {
      const VF f = hn::Set(d, weights[s]);
      s0 = hn::MulAdd(f, LoadF(row), s0);
      s1 = hn::MulAdd(f, LoadF(row + lanes), s1);
      s2 = hn::MulAdd(f, LoadF(row + 2 * lanes), s2);
      s3 = hn::MulAdd(f, LoadF(row + 3 * lanes), s3);
    }
    hn::StoreU(s0, d, to + i);
    hn::StoreU(s1, d, to + i + lanes);
    hn::StoreU(s2, d, to + i + 2 * lanes);
    hn::StoreU(s3, d, to + i + 3 * lanes);
  }
  for (; i < width; i += lanes) {
    const size_t n = std::min(lanes, width - i);
    VF sum = hn::Zero(d);
    for (size_t s = 0; s < count; ++s) {
      const T* row = values + s * width + i;
      sum = hn::MulAdd(hn::Set(d, weights[s]), n == lanes ? LoadF(row) : LoadFirst(row, n), sum);
    }
    hn::StoreU(sum, d, to + i);
  }
}

// Scores of one query, and the sum of weighted values, straight from the rows of K and V. Rows `ahead` of so many bytes,
// which come next, are fetched meanwhile: a cache of keys and values is seldom in any of the processor's.
void DotRows(DType dtype, const float* query, const void* keys, int64_t width, int64_t count, float* scores,
             const char* ahead, int64_t ahead_bytes) {
  for (int64_t s = 0; s < count; ++s, ahead += ahead_bytes) {
    for (int64_t i = 0; i < ahead_bytes; i += 64) __builtin_prefetch(ahead + i, 0, 2);
    const size_t n = static_cast<size_t>(width);
    scores[s] = dtype == DType::kF32 ? Dot(query, static_cast<const float*>(keys) + s * width, n)
                                     : Dot(query, static_cast<const half*>(keys) + s * width, n);
  }
}
void WeighRows(DType dtype, const float* weights, const void* values, int64_t width, int64_t count, float* to) {
  const size_t n = static_cast<size_t>(width), rows = static_cast<size_t>(count);
  if (dtype == DType::kF32) {
    SumRows(weights, static_cast<const float*>(values), n, rows, to);
  } else {
    SumRows(weights, static_cast<const half*>(values), n, rows, to);
  }
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {

HWY_EXPORT(NextBlock);
HWY_EXPORT(ScaleRun);
HWY_EXPORT(DivideRun);
HWY_EXPORT(DotRows);
HWY_EXPORT(WeighRows);

namespace {

constexpr int64_t kQueries = 48, kKeys = 256;
constexpr int64_t kFew = 4;  // so few queries that packing keys and values would cost more than it saves

// Rows of an operand [B…, S', E] that take part: all, or some that follow one another, read where they stand.
class Rows {
 public:
  Rows(const Attributes& attributes, const std::string& name)
      : sizes_(attributes.get(name, std::vector<SizeRef>{})) {}

  void Configure(const Shape& shape, const SizeTable& sizes) {
    const int64_t all = shape[shape.rank - 2];
    width_ = shape[shape.rank - 1];
    stride_ = all * width_;
    Require(sizes_.empty() || sizes_.size() == 2, "rows have a first one and a number");
    first_ = sizes_.empty() ? 0 : sizes[sizes_[0].entry];
    count_ = sizes_.empty() ? all : sizes[sizes_[1].entry];
    Require(first_ >= 0 && count_ >= 0 && first_ <= all && count_ <= all - first_, "rows lie within their tensor");
  }

  int64_t count() const { return count_; }
  // The element with which a row of a head begins.
  int64_t At(int64_t head, int64_t row) const { return head * stride_ + (first_ + row) * width_; }
  double bytes(const Tensor& x) const {
    return static_cast<double>(x.bytes()) * static_cast<double>(count_ * width_) / std::max<double>(1.0, static_cast<double>(stride_));
  }

 private:
  std::vector<SizeRef> sizes_;
  int64_t first_ = 0, count_ = 0, width_ = 0, stride_ = 0;
};

// Inputs: query [B…, L, E], key [B…, S, E], value [B…, S, F], mask [B…, L, S] of floats or bools, which broadcasts. Keys
// and values may be rows of larger tensors.
class Attention : public Kernel {
 public:
  explicit Attention(const Attributes& attributes)
      : key_rows_(attributes, "key_rows"), value_rows_(attributes, "value_rows") {}

  size_t Configure(const Operands& operands, const SizeTable& sizes, int threads) override {
    const Shape &q = operands.in(0).shape, &k = operands.in(1).shape, &v = operands.in(2).shape;
    const size_t rank = q.rank;
    Require(rank >= 2 && k.rank == rank && v.rank == rank, "attention is over matrices of one rank");
    heads_ = q.Product(0, rank - 2);
    Require(k.Product(0, rank - 2) == heads_ && v.Product(0, rank - 2) == heads_, "every head has keys and values");
    key_rows_.Configure(k, sizes);
    value_rows_.Configure(v, sizes);
    length_ = q[rank - 2], wide_ = q[rank - 1], keys_ = key_rows_.count(), out_ = v[rank - 1];
    Require(k[rank - 1] == wide_ && value_rows_.count() == keys_, "keys fit queries and values");
    Require(operands.out(0).shape.size() == heads_ * length_ * out_, "attention has a value for each query");
    if (operands.given(3)) PlaceMask(operands.in(3).shape, q);
    transposed_ = {wide_, keys_, PanelWidth()};
    values_ = {keys_, out_, PanelWidth()};
    lds_ = kKeys + transposed_.width;
    ldo_ = values_.panels() * values_.width;
    panel_ = std::max(kDepth * transposed_.width, ldo_);
    floats_ = kQueries * (wide_ + 16 + lds_ + ldo_) + panel_ + TilesFloats(kQueries, std::max(kDepth, kKeys)) + 64;
    packed_ = length_ <= kFew ? 0 : Room(transposed_.size()) + Room(values_.size());
    return packed_ * static_cast<size_t>(heads_) + static_cast<size_t>(floats_ * threads) * sizeof(float);
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    if (heads_ * length_ * out_ == 0) return;
    const int64_t blocks = (length_ + kQueries - 1) / kQueries;
    float* own = reinterpret_cast<float*>(workspace.scratch + packed_ * static_cast<size_t>(heads_));
    if (packed_ != 0) Pack(operands, workspace);
    workspace.Parallel(heads_ * blocks, [&](int64_t index, int thread) {
      Block(operands, workspace.scratch, index / blocks, index % blocks * kQueries, own + floats_ * thread);
    });
  }

  double flops() const override {
    return 2.0 * static_cast<double>(heads_ * length_ * keys_) * static_cast<double>(wide_ + out_);
  }
  double operand_bytes(const Operands& operands) const override {
    double bytes = key_rows_.bytes(operands.in(1)) + value_rows_.bytes(operands.in(2));
    for (const Tensor& tensor : {operands.in(0), operands.inputs.back(), operands.out(0)}) {
      if (tensor.given) bytes += static_cast<double>(tensor.bytes());
    }
    return bytes;
  }
  std::string variant() const override { return packed_ == 0 ? "few queries" : "blocks"; }

 private:
  static const char* At(const Tensor& x, int64_t element) {
    return x.as<char>() + element * static_cast<int64_t>(SizeOf(x.dtype));
  }

  void PlaceMask(const Shape& mask, const Shape& q) {
    const size_t rank = q.rank, lacking = rank - mask.rank;
    Require(mask.rank <= rank, "a mask has no more dimensions than the scores");
    auto size = [&](size_t axis) { return axis < lacking ? 1 : mask[axis - lacking]; };
    Require((size(rank - 1) == 1 || size(rank - 1) == keys_) && (size(rank - 2) == 1 || size(rank - 2) == length_),
            "a mask fits the scores");
    mask_column_ = size(rank - 1) == 1 ? 0 : 1;
    mask_row_ = size(rank - 2) == 1 ? 0 : size(rank - 1);
    mask_head_.assign(static_cast<size_t>(heads_), 0);
    for (int64_t head = 0; head < heads_; ++head) {
      int64_t rest = head, stride = size(rank - 1) * size(rank - 2), place = 0;
      for (size_t axis = rank - 2; axis-- > 0; rest /= q[axis]) {
        Require(size(axis) == 1 || size(axis) == q[axis], "a mask fits the heads");
        if (size(axis) != 1) place += rest % q[axis] * stride;
        stride *= size(axis);
      }
      mask_head_[static_cast<size_t>(head)] = place;
    }
  }

  void Pack(const Operands& operands, const Workspace& workspace) const {
    const int64_t first = transposed_.panels(), all = first + values_.panels();
    workspace.Parallel(heads_ * all, [&](int64_t index, int) {
      const int64_t head = index / all, panel = index % all;
      char* to = workspace.scratch + packed_ * static_cast<size_t>(head);
      if (panel < first) {
        const char* keys = At(operands.in(1), key_rows_.At(head, 0));
        PackPanels(MatrixSource::Of(operands.in(1).dtype, keys, wide_, keys_, 1, wide_), panel, panel + 1,
                   reinterpret_cast<float*>(to));
      } else {
        const char* values = At(operands.in(2), value_rows_.At(head, 0));
        PackPanels(MatrixSource::Of(operands.in(2).dtype, values, keys_, out_, out_, 1), panel - first,
                   panel - first + 1, reinterpret_cast<float*>(to + Room(transposed_.size())));
      }
    });
  }

  void Mask(const Tensor& mask, int64_t head, int64_t row, int64_t key, int64_t count, float* scores) const {
    const int64_t at = mask_head_[static_cast<size_t>(head)] + row * mask_row_ + key * mask_column_;
    if (mask.dtype == DType::kBool) {
      const uint8_t* seen = mask.as<uint8_t>() + at;
      for (int64_t s = 0; s < count; ++s) {
        if (!seen[s * mask_column_]) scores[s] = -std::numeric_limits<float>::infinity();
      }
      return;
    }
    float added[kKeys + 16];
    LoadTile(mask.dtype, At(mask, at), mask_column_, added, static_cast<size_t>(count));
    for (int64_t s = 0; s < count; ++s) scores[s] += added[s];
  }

  // Queries [row, row + kQueries) of one head.
  void Block(const Operands& operands, const char* packed, int64_t head, int64_t row, float* own) const {
    const int64_t rows = std::min(kQueries, length_ - row), ldq = wide_ + 16;
    float *queries = own, *scores = queries + kQueries * ldq, *sums = scores + kQueries * lds_;
    float *panel = sums + kQueries * ldo_, *tiles = panel + panel_;
    Running running[kQueries];
    const float scale = 1.0f / std::sqrt(static_cast<float>(wide_));
    const Tensor& q = operands.in(0);
    for (int64_t i = 0; i < rows; ++i) {
      LoadTile(q.dtype, At(q, (head * length_ + row + i) * wide_), 1, queries + i * ldq, static_cast<size_t>(wide_));
      HWY_DYNAMIC_DISPATCH(ScaleRun)(queries + i * ldq, static_cast<size_t>(wide_), scale);
      running[i] = {-std::numeric_limits<float>::infinity(), 0.0f};
      std::fill(sums + i * ldo_, sums + (i + 1) * ldo_, 0.0f);
    }
    const char* at = packed + packed_ * static_cast<size_t>(head);
    const Panels keys = transposed_.Placed(at), values = values_.Placed(at + Room(transposed_.size()));
    for (int64_t key = 0; key < keys_; key += kKeys) {
      const int64_t count = std::min(kKeys, keys_ - key);
      if (packed_ != 0) {
        const int64_t p0 = key / keys.width, p1 = (key + count + keys.width - 1) / keys.width;
        for (int64_t k0 = 0; k0 < wide_ || k0 == 0; k0 += kDepth) {
          MultiplyBlock(queries + k0, ldq, rows, std::min(kDepth, wide_ - k0), keys, k0, p0, p1, scores, lds_, k0 > 0,
                        panel, tiles);
        }
      }
      for (int64_t i = 0; i < rows; ++i) {
        float* line = scores + i * lds_;
        const Tensor &k = operands.in(1), &v = operands.in(2);
        if (packed_ == 0) {
          HWY_DYNAMIC_DISPATCH(DotRows)(k.dtype, queries + i * ldq, At(k, key_rows_.At(head, key)), wide_, count, line,
                                        static_cast<const char*>(At(v, value_rows_.At(head, key))),
                                        out_ * static_cast<int64_t>(SizeOf(v.dtype)));
        }
        if (operands.given(3)) Mask(operands.in(3), head, row + i, key, count, line);
        const float shrink = HWY_DYNAMIC_DISPATCH(NextBlock)(q.dtype, line, static_cast<size_t>(count), running[i]);
        if (key > 0) HWY_DYNAMIC_DISPATCH(ScaleRun)(sums + i * ldo_, static_cast<size_t>(out_), shrink);
        if (packed_ == 0) {  // a block's sum apart, as in products
          HWY_DYNAMIC_DISPATCH(WeighRows)(v.dtype, line, At(v, value_rows_.At(head, key)), out_, count, panel);
          for (int64_t j = 0; j < out_; ++j) sums[i * ldo_ + j] += panel[j];
        }
      }
      if (packed_ != 0) {
        MultiplyBlock(scores, lds_, rows, count, values, key, 0, values.panels(), sums, ldo_, true, panel, tiles);
      }
    }
    const Tensor& out = operands.out(0);
    for (int64_t i = 0; i < rows; ++i) {
      // Without any keys the sums are 0; where all keys are masked, 0/0 is NaN.
      HWY_DYNAMIC_DISPATCH(DivideRun)(sums + i * ldo_, static_cast<size_t>(out_), keys_ == 0 ? 1.0f : running[i].sum);
      char* to = out.as<char>() + (head * length_ + row + i) * out_ * static_cast<int64_t>(SizeOf(out.dtype));
      StoreTile(out.dtype, sums + i * ldo_, to, static_cast<size_t>(out_));
    }
  }

  int64_t heads_ = 0, length_ = 0, keys_ = 0, wide_ = 0, out_ = 0, lds_ = 0, ldo_ = 0, panel_ = 0, floats_ = 0;
  int64_t mask_row_ = 0, mask_column_ = 0;
  std::vector<int64_t> mask_head_;
  Rows key_rows_, value_rows_;
  Panels transposed_, values_;
  size_t packed_ = 0;
};

const RegisterKernel attention("attention", [](const Attributes& a) { return std::make_unique<Attention>(a); });

}  // namespace
}  // namespace gristmill
#endif  // HWY_ONCE
