#include "kernels/gemm/rows.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/rows.cc"
#include "simd/foreach_target.h"
#include "simd/simd.h"
#include "simd/tiles.h"

#ifndef GRISTMILL_ROWS_ONCE
#define GRISTMILL_ROWS_ONCE
namespace gristmill {

// Rows [m0, m0 + rows), columns [k0, k0 + depth) of a matrix [M, k].
struct DenseBlock {
  const char* x;
  const char* factors;  // nullptr where there are none
  int64_t k, group, m0, rows, k0, depth;
};

}  // namespace gristmill
#endif

GRISTMILL_SIMD_BEGIN

// Calls `at` for each vector of a row of `depth` elements, and `rest` for the elements after the last.
template <typename At, typename Rest>
HWY_INLINE void AlongRow(int64_t depth, const At& at, const Rest& rest) {
  const int64_t lanes = static_cast<int64_t>(Lanes());
  int64_t i = 0;
  for (; i + lanes <= depth; i += lanes) at(i);
  if (i < depth) rest(i, static_cast<size_t>(depth - i));
}

template <typename T>
void Widen(const DenseBlock& b, float* to, int64_t ld) {
  const int64_t depth = b.depth, k = b.k;
  const T* HWY_RESTRICT x = reinterpret_cast<const T*>(b.x) + b.m0 * k + b.k0;
  if (b.factors == nullptr) {
    for (int64_t row = 0; row < b.rows; ++row, x += k, to += ld) {
      AlongRow(
          depth, [&](int64_t i) HWY_ATTR { StoreF(LoadF(x + i), to + i); },
          [&](int64_t i, size_t n) HWY_ATTR { StoreFirst(LoadFirst(x + i, n), to + i, n); });
    }
    return;
  }
  const T* factors = reinterpret_cast<const T*>(b.factors) + b.k0;
  for (int64_t row = 0; row < b.rows; ++row, x += k, to += ld) {
    const T* f = factors + (b.m0 + row) / b.group * k;
    AlongRow(
        depth, [&](int64_t i) HWY_ATTR { StoreF(hn::Mul(LoadF(x + i), LoadF(f + i)), to + i); },
        [&](int64_t i, size_t n) HWY_ATTR { StoreFirst(hn::Mul(LoadFirst(x + i, n), LoadFirst(f + i, n)), to + i, n); });
  }
}

void WidenRows(const DenseBlock& b, DType dtype, float* to, int64_t ld) {
  dtype == DType::kF16 ? Widen<half>(b, to, ld) : Widen<float>(b, to, ld);
}

template <typename T>
void Pack(const DenseBlock& b, float* to) {
  const T* x = reinterpret_cast<const T*>(b.x) + b.m0 * b.k + b.k0;
  const T* factors = b.factors == nullptr ? nullptr : reinterpret_cast<const T*>(b.factors) + b.m0 / b.group * b.k + b.k0;
  PackTile(x, b.k, b.rows, b.depth, factors, to);
}

void PackDense(const DenseBlock& b, DType dtype, float* to) {
  dtype == DType::kF16 ? Pack<half>(b, to) : Pack<float>(b, to);
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {

HWY_EXPORT(WidenRows);
HWY_EXPORT(PackDense);

const float* DenseRows::Rows(int64_t m0, int64_t rows, int64_t k0, int64_t depth, float* to, int64_t& ld) const {
  if (x_.dtype == DType::kF32 && factors_ == nullptr) {
    ld = k_;
    return x_.as<float>() + m0 * k_ + k0;
  }
  const DenseBlock block{x_.as<char>(), factors_, k_, group_, m0, rows, k0, depth};
  HWY_DYNAMIC_DISPATCH(WidenRows)(block, x_.dtype, to, ld);
  return to;
}

void DenseRows::Tile(int64_t m0, int64_t rows, int64_t k0, int64_t depth, float* to, float* few) const {
  const bool one_group = factors_ == nullptr || m0 / group_ == (m0 + rows - 1) / group_;
  if (!one_group) return RowSource::Tile(m0, rows, k0, depth, to, few);
  const DenseBlock block{x_.as<char>(), factors_, k_, group_, m0, rows, k0, depth};
  HWY_DYNAMIC_DISPATCH(PackDense)(block, x_.dtype, to);
}

}  // namespace gristmill
#endif  // HWY_ONCE
