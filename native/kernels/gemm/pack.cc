#include "kernels/gemm/pack.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/pack.cc"
#include "simd/foreach_target.h"
#include "simd/simd.h"

GRISTMILL_SIMD_BEGIN

int64_t PanelWidthHere() { return static_cast<int64_t>(2 * Lanes()); }

// to[i·pitch + j] = from[j·stride + i] for a square of one 128-bit vector's elements, by interleaving: pairs of rows,
// pairs of pairs, and so on.
#if HWY_TARGET == HWY_SCALAR
template <typename T>
void TransposeSquare(const T* from, int64_t stride, T* to, int64_t pitch) {
  constexpr int64_t kSide = 16 / sizeof(T);
  for (int64_t i = 0; i < kSide; ++i) {
    for (int64_t j = 0; j < kSide; ++j) to[i * pitch + j] = from[j * stride + i];
  }
}
#else
using Bits16 = hn::FixedTag<uint16_t, 8>;
using Bits32 = hn::FixedTag<uint32_t, 4>;

HWY_INLINE void TransposeSquare(const uint32_t* from, int64_t stride, uint32_t* to, int64_t pitch) {
  const Bits32 d;
  const hn::Repartition<uint64_t, Bits32> d2;
  auto twice = [&](auto v) { return hn::BitCast(d2, v); };
  const auto r0 = hn::LoadU(d, from), r1 = hn::LoadU(d, from + stride);
  const auto r2 = hn::LoadU(d, from + 2 * stride), r3 = hn::LoadU(d, from + 3 * stride);
  const auto a = twice(hn::InterleaveLower(d, r0, r1)), b = twice(hn::InterleaveUpper(d, r0, r1));
  const auto c = twice(hn::InterleaveLower(d, r2, r3)), e = twice(hn::InterleaveUpper(d, r2, r3));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d2, a, c)), d, to);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d2, a, c)), d, to + pitch);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d2, b, e)), d, to + 2 * pitch);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d2, b, e)), d, to + 3 * pitch);
}

HWY_INLINE void TransposeSquare(const uint16_t* from, int64_t stride, uint16_t* to, int64_t pitch) {
  const Bits16 d;
  const hn::Repartition<uint32_t, Bits16> d2;
  const hn::Repartition<uint64_t, Bits16> d4;
  hn::Vec<Bits16> rows[8];
  hn::Vec<decltype(d2)> pairs[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) rows[i] = hn::LoadU(d, from + i * stride);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    pairs[i] = hn::BitCast(d2, hn::InterleaveLower(d, rows[2 * i], rows[2 * i + 1]));
    pairs[i + 4] = hn::BitCast(d2, hn::InterleaveUpper(d, rows[2 * i], rows[2 * i + 1]));
  }
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {  // results 0 to 3, and 4 to 7
    const auto* p = pairs + 4 * half;
    uint16_t* out = to + 4 * half * pitch;
    auto four = [&](auto v) { return hn::BitCast(d4, v); };
    const auto a = four(hn::InterleaveLower(d2, p[0], p[1])), b = four(hn::InterleaveLower(d2, p[2], p[3]));
    const auto c = four(hn::InterleaveUpper(d2, p[0], p[1])), e = four(hn::InterleaveUpper(d2, p[2], p[3]));
    hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d4, a, b)), d, out);
    hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d4, a, b)), d, out + pitch);
    hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d4, c, e)), d, out + 2 * pitch);
    hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d4, c, e)), d, out + 3 * pitch);
  }
}

#endif  // HWY_SCALAR

// Rows [k0, k0 + depth) of one panel, in rows of `width`; columns beyond `columns` become zeros.
template <typename T>
void PackRows(const T* from, int64_t k_stride, int64_t n_stride, int64_t depth, int64_t columns, int64_t width, T* to) {
  constexpr int64_t kSide = 16 / sizeof(T);
  if (columns < width) std::fill(to, to + depth * width, T{0});
  if (n_stride == 1) {
    for (int64_t k = 0; k < depth; ++k) memcpy(to + k * width, from + k * k_stride, columns * sizeof(T));
    return;
  }
  int64_t k = 0;
  if (k_stride == 1 && columns % kSide == 0) {
    for (; k + kSide <= depth; k += kSide) {
      for (int64_t j = 0; j < columns; j += kSide) {
        TransposeSquare(from + j * n_stride + k, n_stride, to + k * width + j, width);
      }
    }
  }
  for (; k < depth; ++k) {
    for (int64_t j = 0; j < columns; ++j) to[k * width + j] = from[k * k_stride + j * n_stride];
  }
}

template <typename T>
void PackPanelOf(const MatrixSource& source, int64_t panel, int64_t width, T* to) {
  const int64_t n0 = panel * width, columns = std::min(width, source.n - n0);
  const T* from = static_cast<const T*>(source.data) + n0 * source.n_stride;
  for (int64_t o = 0; o < source.outer; ++o, to += source.inner * width) {
    PackRows(from + o * source.outer_stride, source.inner_stride, source.n_stride, source.inner, columns, width, to);
  }
}

void PackPanel(const MatrixSource& source, int64_t panel, int64_t width, char* to) {
  if (source.dtype == DType::kF32) {
    PackPanelOf(source, panel, width, reinterpret_cast<uint32_t*>(to));
  } else {
    PackPanelOf(source, panel, width, reinterpret_cast<uint16_t*>(to));
  }
}

// A panel of float16 as float32: in runs that stay in the first-level cache between their two steps.
void PackPanelWidened(const MatrixSource& source, int64_t panel, int64_t width, float* to) {
  constexpr int64_t kRun = 64;
  HWY_ALIGN uint16_t run[kRun * HWY_MAX_BYTES / 2];
  const int64_t n0 = panel * width, columns = std::min(width, source.n - n0);
  for (int64_t o = 0; o < source.outer; ++o) {
    const uint16_t* from = static_cast<const uint16_t*>(source.data) + n0 * source.n_stride + o * source.outer_stride;
    for (int64_t i = 0; i < source.inner; i += kRun) {
      const int64_t depth = std::min(kRun, source.inner - i);
      PackRows(from + i * source.inner_stride, source.inner_stride, source.n_stride, depth, columns, width, run);
      ConvertRun(reinterpret_cast<const half*>(run), to, static_cast<size_t>(depth * width));
      to += depth * width;
    }
  }
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {

HWY_EXPORT(PanelWidthHere);
HWY_EXPORT(PackPanel);
HWY_EXPORT(PackPanelWidened);

int64_t PanelWidth() { return HWY_DYNAMIC_DISPATCH(PanelWidthHere)(); }

std::shared_ptr<PackedMatrix> PackMatrix(const MatrixSource& source) {
  Require(source.dtype == DType::kF16 || source.dtype == DType::kF32, "packed matrices are float16 or float32");
  auto packed = std::make_shared<PackedMatrix>();
  packed->k = source.k();
  packed->n = source.n;
  packed->width = PanelWidth();
  packed->dtype = source.dtype;
  packed->data.Resize(packed->bytes());
  packed->at = packed->data.as<char>();
  ThreadPool::Global().Run(packed->panels(), DefaultThreads(), [&](int64_t p, int) {
    HWY_DYNAMIC_DISPATCH(PackPanel)(source, p, packed->width, const_cast<char*>(packed->panel(p)));
  });
  return packed;
}

void PackPanels(const MatrixSource& source, int64_t p0, int64_t p1, float* to) {
  const int64_t width = PanelWidth();
  for (int64_t p = p0; p < p1; ++p) {
    float* out = to + p * source.k() * width;
    if (source.dtype == DType::kF32) {
      HWY_DYNAMIC_DISPATCH(PackPanel)(source, p, width, reinterpret_cast<char*>(out));
    } else {
      HWY_DYNAMIC_DISPATCH(PackPanelWidened)(source, p, width, out);
    }
  }
}

}  // namespace gristmill
#endif  // HWY_ONCE
