#include "kernels/gemm/decode.h"

#include <algorithm>
#include <type_traits>

#include "kernels/gemm/codes.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/affine.cc"
#include "simd/foreach_target.h"
#include "simd/simd.h"

#ifndef GRISTMILL_AFFINE_ONCE
#define GRISTMILL_AFFINE_ONCE
namespace gristmill {

// Rows [first, first + rows) of a panel of codes; first is a multiple of kRun. Row `row` has the scales, and the zero
// points if there are any, of row `row` / `block` of theirs.
struct ScaledCodes {
  const uint8_t* codes;  // of row `first`
  int bits;
  int64_t first, rows, block;
  DType dtype;  // of scales and zero points
  const char *scale, *zero_point;
  float zero;
};

}  // namespace gristmill
#endif  // GRISTMILL_AFFINE_ONCE

GRISTMILL_SIMD_BEGIN

// Calls each(row, rows, its codes) for parts of the rows that share their scales and lie in one run. Codes of `kBits` bits
// are given as they lie, others one a byte.
template <int kBits, typename Each>
HWY_INLINE void ForParts(const ScaledCodes& b, const Each& each) {
  alignas(64) uint8_t unpacked[kRun * kMostWidth];
  const int64_t width = 2 * static_cast<int64_t>(Lanes()), end = b.first + b.rows;
  const uint8_t* from = b.codes;
  for (int64_t run = b.first; run < end; run += kRun) {
    const int64_t run_end = std::min(run + kRun, end), groups = ((run_end - run) * width + kGroup - 1) / kGroup;
    const int64_t bytes = groups * kLine * b.bits;
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + 4 * bytes + i);
    const uint8_t* codes = kBits == b.bits ? from : UnpackedCodes(from, b.bits, groups, unpacked);
    for (int64_t row = run, rows; row < run_end; row += rows) {
      rows = std::min(run_end, (row / b.block + 1) * b.block) - row;
      each(row, rows, codes + (row - run) * width * (kBits == b.bits ? kBits : 8) / 8);
    }
    from += bytes;
  }
}

// Rows of one block of scales. `zero` stands for all zero points where there are none.
template <typename Scale, typename To>
void ScaledRows(const uint8_t* HWY_RESTRICT codes, int64_t rows, const Scale* scale, const Scale* zero_point, float zero,
                To* HWY_RESTRICT to) {
  const F32 d;
  const I32 di;
  const hn::Rebind<uint8_t, I32> bytes;
  const int64_t lanes = static_cast<int64_t>(Lanes());
  VF factor[2], shift[2], start[2];
  for (int i = 0; i < 2; ++i) {
    factor[i] = LoadF(scale + i * lanes);
    shift[i] = zero_point == nullptr ? hn::Set(d, zero) : LoadF(zero_point + i * lanes);
    start[i] = hn::Mul(shift[i], hn::Neg(factor[i]));
  }
  for (int64_t k = 0; k < rows; ++k) {
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i, codes += lanes, to += lanes) {
      const VF code = hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(bytes, codes)));
      if constexpr (sizeof(Scale) == sizeof(half)) {  // all products are exact: 11 bits of the scale, 8 of the code
        StoreF(hn::MulAdd(code, factor[i], start[i]), to);
      } else {
        StoreF(hn::Mul(hn::Sub(code, shift[i]), factor[i]), to);
      }
    }
  }
}

template <typename Scale>
void DecodeRows(const ScaledCodes& b, bool halves, char* to) {
  const int64_t width = 2 * static_cast<int64_t>(Lanes());
  ForParts<8>(b, [&](int64_t row, int64_t rows, const uint8_t* codes) HWY_ATTR {
    const Scale* scale = reinterpret_cast<const Scale*>(b.scale) + row / b.block * width;
    const Scale* shift = b.zero_point == nullptr ? nullptr : reinterpret_cast<const Scale*>(b.zero_point) + row / b.block * width;
    const int64_t at = (row - b.first) * width;
    halves ? ScaledRows(codes, rows, scale, shift, b.zero, reinterpret_cast<half*>(to) + at)
           : ScaledRows(codes, rows, scale, shift, b.zero, reinterpret_cast<float*>(to) + at);
  });
}

void DecodeScaled(const ScaledCodes& b, bool halves, char* to) {
  b.dtype == DType::kF16 ? DecodeRows<half>(b, halves, to) : DecodeRows<float>(b, halves, to);
}

// Whether a line of codes of four bits, which is 32 of them, is whole rows.
constexpr bool kLinesAreRows = HWY_TARGET <= HWY_AVX2;

// sums += A[R, rows]·(code - shift). One row has two sums for each column: a multiply-add waits for the one before it.
template <int R, int kBits>
HWY_INLINE void AddCodes(const uint8_t* HWY_RESTRICT codes, int64_t rows, const VF (&shift)[2], const float* HWY_RESTRICT a,
                         int64_t lda, VF (&sums)[2][R][2]) {
  const F32 d;
  const I32 di;
  const hn::Rebind<uint8_t, I32> bytes;
  const int64_t lanes = static_cast<int64_t>(Lanes());
  const auto add = [&](hn::Vec<I32> code, int64_t k, int i) HWY_ATTR {
    const VF number = hn::Sub(hn::ConvertTo(d, code), shift[i]);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      VF& sum = sums[R == 1 ? k % 2 : 0][r][i];
      sum = hn::MulAdd(hn::Set(d, a[r * lda + k]), number, sum);
    }
  };
  int64_t k = 0;
  if constexpr (kBits == 4) {
    const auto low = hn::Set(di, 15);
    if (lanes == kLine) {  // a line is a row
      for (; k < rows; ++k) {
        const auto two = hn::PromoteTo(di, hn::LoadU(bytes, codes + k * lanes));
        add(hn::And(two, low), k, 0), add(hn::ShiftRight<4>(two), k, 1);
      }
    } else {  // two rows
      for (; k < rows; k += 2) {
#pragma GCC unroll 2
        for (int i = 0; i < 2; ++i) {
          const auto two = hn::PromoteTo(di, hn::LoadU(bytes, codes + (k + i) * lanes));
          add(hn::And(two, low), k, i), add(hn::ShiftRight<4>(two), k + 1, i);
        }
      }
    }
  } else {
    const auto row = [&](int64_t at) HWY_ATTR {
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) add(hn::PromoteTo(di, hn::LoadU(bytes, codes + (2 * at + i) * lanes)), at, i);
    };
    for (; k + 2 <= rows; k += 2) row(k), row(k + 1);
    if (k < rows) row(k);
  }
}

HWY_INLINE VF LoadAs(DType dtype, const char* from, int64_t at) {
  return dtype == DType::kF16 ? LoadF(reinterpret_cast<const half*>(from) + at) : LoadF(reinterpret_cast<const float*>(from) + at);
}

// C[R, width] (+)= Σ scale·Σ A[R, rows of a block]·(code - zero point).
template <int R, int kBits>
void ScaledSums(const ScaledCodes& b, const float* HWY_RESTRICT a, int64_t lda, float* HWY_RESTRICT c, int64_t ldc,
                bool accumulate) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(Lanes());
  VF total[R][2];
  for (int r = 0; r < R; ++r) {
    for (int i = 0; i < 2; ++i) total[r][i] = accumulate ? hn::LoadU(d, c + r * ldc + i * lanes) : hn::Zero(d);
  }
  ForParts<kBits>(b, [&](int64_t row, int64_t rows, const uint8_t* codes) HWY_ATTR {
    const int64_t at = row / b.block * 2 * lanes;
    VF shift[2], sums[2][R][2];
    for (int i = 0; i < 2; ++i) {
      shift[i] = b.zero_point == nullptr ? hn::Set(d, b.zero) : LoadAs(b.dtype, b.zero_point, at + i * lanes);
      for (int r = 0; r < R; ++r) sums[0][r][i] = sums[1][r][i] = hn::Zero(d);
    }
    AddCodes<R, kBits>(codes, rows, shift, a + (row - b.first), lda, sums);
    for (int i = 0; i < 2; ++i) {
      const VF factor = LoadAs(b.dtype, b.scale, at + i * lanes);
      for (int r = 0; r < R; ++r) {
        const VF sum = R == 1 ? hn::Add(sums[0][r][i], sums[1][r][i]) : sums[0][r][i];
        total[r][i] = hn::MulAdd(sum, factor, total[r][i]);
      }
    }
  });
  for (int r = 0; r < R; ++r) {
    for (int i = 0; i < 2; ++i) hn::StoreU(total[r][i], d, c + r * ldc + i * lanes);
  }
}

template <int R>
void MultiplyRows(const ScaledCodes& b, const float* a, int64_t lda, float* c, int64_t ldc, bool accumulate) {
  // As they lie only where every part of the rows is whole lines.
  const bool lines = kLinesAreRows && b.bits == 4 && b.block % 2 == 0 && b.rows % 2 == 0;
  lines ? ScaledSums<R, 4>(b, a, lda, c, ldc, accumulate) : ScaledSums<R, 8>(b, a, lda, c, ldc, accumulate);
}

void MultiplyScaled(const ScaledCodes& b, int64_t rows, const float* a, int64_t lda, float* c, int64_t ldc,
                    bool accumulate) {
  switch (rows) {
    case 1:
      return MultiplyRows<1>(b, a, lda, c, ldc, accumulate);
    case 2:
      return MultiplyRows<2>(b, a, lda, c, ldc, accumulate);
    case 3:
      return MultiplyRows<3>(b, a, lda, c, ldc, accumulate);
    default:
      return MultiplyRows<4>(b, a, lda, c, ldc, accumulate);
  }
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {

HWY_EXPORT(DecodeScaled);
HWY_EXPORT(MultiplyScaled);

namespace {

class AffineMatrix : public CodedMatrix {
 public:
  AffineMatrix(const CodeSource& source, const AffineMeaning& meaning, const std::string& name)
      : CodedMatrix(source), name_(name), block_(meaning.block), zero_(meaning.zero), rounded_(meaning.rounded) {
    Require(block_ > 0 && k % block_ == 0, "blocks divide the rows of a matrix");
    dtype = meaning.half ? DType::kF16 : DType::kF32;
    auto packed = [&](const void* values) {
      return PackMatrix(MatrixSource::Of(meaning.dtype, values, k / block_, n, n, 1));
    };
    scale_ = packed(meaning.scale);
    if (meaning.zero_point != nullptr) zero_point_ = packed(meaning.zero_point);
  }

  size_t bytes() const override {
    return CodedMatrix::bytes() + scale_->bytes() + (zero_point_ == nullptr ? 0 : zero_point_->bytes());
  }
  std::string form() const override {
    return name_ + " weights" + (block_ == k ? "" : ", blocks of " + std::to_string(block_));
  }

 private:
  ScaledCodes Codes(int64_t panel, int64_t first, int64_t rows) const {
    const char* zeros = zero_point_ == nullptr ? nullptr : zero_point_->panel(panel);
    return {CodesAt(panel, first), bits_, first, rows, block_, scale_->dtype, scale_->panel(panel), zeros, zero_};
  }

  void Decode(int64_t panel, int64_t k0, int64_t depth, char* to) const override {
    HWY_DYNAMIC_DISPATCH(DecodeScaled)(Codes(panel, k0, depth), dtype == DType::kF16, to);
  }

  bool Multiply(int64_t panel, int64_t k0, int64_t depth, const float* a, int64_t lda, int64_t rows, float* c,
                int64_t ldc, bool accumulate) const override {
    if (rounded_ || depth == 0) return false;
    HWY_DYNAMIC_DISPATCH(MultiplyScaled)(Codes(panel, k0, depth), rows, a, lda, c, ldc, accumulate);
    return true;
  }

  std::string name_;
  int64_t block_;
  float zero_;
  bool rounded_;
  std::shared_ptr<PackedMatrix> scale_, zero_point_;
};

}  // namespace

std::shared_ptr<PackedMatrix> CompressAffine(const CodeSource& codes, const AffineMeaning& meaning,
                                             const std::string& name) {
  Require(meaning.dtype == DType::kF16 || meaning.dtype == DType::kF32, "scales are float16 or float32");
  return std::make_shared<AffineMatrix>(codes, meaning, name);
}

}  // namespace gristmill
#endif  // HWY_ONCE
