#include "kernels/gemm/sparse.h"

#include <array>
#include <cstring>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/sparse.cc"
#include "simd/foreach_target.h"
#include "simd/few.h"
#include "simd/simd.h"

#ifndef GRISTMILL_SPARSE_TABLES
#define GRISTMILL_SPARSE_TABLES
namespace gristmill {

// For each set of places among the elements of 16 bytes, where their bytes come from: the k-th place from the k-th
// element; other places from nowhere, which a shuffle makes zeros of.
template <size_t kSize>
constexpr auto PlaceTable() {
  constexpr size_t kPlaces = 16 / kSize;
  std::array<std::array<uint8_t, 16>, size_t{1} << kPlaces> table{};
  for (size_t mask = 0; mask < table.size(); ++mask) {
    size_t next = 0;
    for (size_t place = 0; place < kPlaces; ++place) {
      const bool there = mask >> place & 1;
      for (size_t byte = 0; byte < kSize; ++byte)
        table[mask][place * kSize + byte] = there ? static_cast<uint8_t>(next * kSize + byte) : 0x80;
      next += there;
    }
  }
  return table;
}

template <size_t kSize>
inline constexpr auto kPlaceTable = PlaceTable<kSize>();

}  // namespace gristmill
#endif  // GRISTMILL_SPARSE_TABLES

GRISTMILL_SIMD_BEGIN

// Elements to their places within 16 bytes.
template <typename T>
HWY_INLINE void ExpandPlaces(unsigned mask, const char* from, char* to) {
  const auto& places = kPlaceTable<sizeof(T)>[mask];
#if HWY_TARGET == HWY_SCALAR
  for (size_t byte = 0; byte < 16; ++byte) to[byte] = places[byte] & 0x80 ? 0 : from[places[byte]];
#else
  const hn::FixedTag<uint8_t, 16> d;
  const auto elements = hn::LoadU(d, reinterpret_cast<const uint8_t*>(from));
  hn::StoreU(hn::TableLookupBytesOr0(elements, hn::LoadU(d, places.data())), d, reinterpret_cast<uint8_t*>(to));
#endif
}

// Elements to their places; `masks` has a byte for each 8 places. Reads up to 16 bytes further.
template <typename T>
void ExpandElements(const uint8_t* masks, const char* from, int64_t count, char* to) {
  constexpr int64_t kPlaces = 16 / sizeof(T);
  const auto mask = [masks](int64_t i) { return masks[i / 8] >> (i % 8) & ((1u << kPlaces) - 1); };
  int64_t i = 0;
  for (; i + kPlaces <= count; i += kPlaces, to += 16) {
    ExpandPlaces<T>(mask(i), from, to);
    from += sizeof(T) * static_cast<size_t>(__builtin_popcount(mask(i)));
  }
  if (i < count) {  // panels narrower than 16 bytes may end within them
    char last[16];
    ExpandPlaces<T>(mask(i), from, last);
    memcpy(to, last, static_cast<size_t>(count - i) * sizeof(T));
  }
}

void Expand(DType dtype, const uint8_t* masks, const char* from, int64_t count, char* to) {
  dtype == DType::kF16 ? ExpandElements<uint16_t>(masks, from, count, to)
                       : ExpandElements<uint32_t>(masks, from, count, to);
}

// C[rows, width] (+)= A[rows, depth]·elements in their places, of float16; arguments as of ExpandElements. Returns whether
// it was done.
bool MultiplyElements(const uint8_t* masks, const char* from, const float* a, int64_t lda, int64_t rows, int64_t depth,
                      float* c, int64_t ldc, bool accumulate) {
#if HWY_TARGET == HWY_AVX2
  MultiplyFewMade(a, lda, rows, depth, c, ldc, accumulate, [=]() HWY_ATTR {
    return [mask = masks, at = reinterpret_cast<const uint8_t*>(from)](VF(&b)[2]) mutable HWY_ATTR {
      const Line d;
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i, ++mask) {
        b[i] = Widen(hn::TableLookupBytesOr0(hn::LoadU(d, at), hn::LoadU(d, kPlaceTable<2>[*mask].data())));
        at += 2 * __builtin_popcount(*mask);
      }
      __builtin_prefetch(at + 2048);
    };
  });
  return true;
#else
  (void)masks, (void)from, (void)a, (void)lda, (void)rows, (void)depth, (void)c, (void)ldc, (void)accumulate;
  return false;
#endif
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {

HWY_EXPORT(MultiplyElements);
HWY_EXPORT(Expand);

namespace {

constexpr int64_t kRun = 64;  // rows whose elements are found at once

class SparseMatrix : public PackedMatrix, public BlockDecoder {
 public:
  explicit SparseMatrix(const MatrixSource& source) {
    k = source.k();
    n = source.n;
    width = PanelWidth();
    dtype = source.dtype;
    decoder = this;
    runs_ = (k + kRun - 1) / kRun;
    // Rows of few columns share bytes of the masks, so a run's begin with a byte of their own.
    run_bytes_ = (kRun * width + 7) / 8;
    dtype == DType::kF16 ? Compress<uint16_t>(source) : Compress<uint32_t>(source);
  }

  size_t bytes() const override {
    return elements_ * SizeOf(dtype) + masks_.size() + sizeof(int64_t) * begins_.size();
  }
  std::string form() const override { return "sparse weights"; }

  void Decode(int64_t panel, int64_t k0, int64_t depth, char* to) const override {
    for (int64_t row = k0; row < k0 + depth; row += kRun) {
      const int64_t run = panel * runs_ + row / kRun, count = std::min(kRun, k0 + depth - row) * width;
      HWY_DYNAMIC_DISPATCH(Expand)(dtype, Masks(run), Elements(run), count, to);
      to += count * static_cast<int64_t>(SizeOf(dtype));
    }
  }

  bool Multiply(int64_t panel, int64_t k0, int64_t depth, const float* a, int64_t lda, int64_t rows, float* c,
                int64_t ldc, bool accumulate) const override {
    if (dtype != DType::kF16 || depth == 0) return false;
    const int64_t run = panel * runs_ + k0 / kRun;  // those after it follow in memory
    return HWY_DYNAMIC_DISPATCH(MultiplyElements)(Masks(run), Elements(run), a, lda, rows, depth, c, ldc, accumulate);
  }

 private:
  const uint8_t* Masks(int64_t run) const { return masks_.data() + run * run_bytes_; }
  const char* Elements(int64_t run) const {
    return data.as<char>() + begins_[static_cast<size_t>(run)] * static_cast<int64_t>(SizeOf(dtype));
  }

  template <typename T>
  void Compress(const MatrixSource& source) {
    masks_.assign(static_cast<size_t>(panels() * runs_ * run_bytes_), 0);
    std::vector<T> elements;
    for (int64_t panel = 0; panel < panels(); ++panel) {
      for (int64_t row = 0; row < k; ++row) {
        const int64_t run = panel * runs_ + row / kRun;
        if (row % kRun == 0) begins_.push_back(static_cast<int64_t>(elements.size()));
        const T* from = static_cast<const T*>(source.data) + row / source.inner * source.outer_stride +
                        row % source.inner * source.inner_stride;
        for (int64_t j = 0; j < std::min(width, n - panel * width); ++j) {
          const T element = from[(panel * width + j) * source.n_stride];
          if (element == 0) continue;
          const int64_t bit = row % kRun * width + j;
          masks_[static_cast<size_t>(run * run_bytes_ + bit / 8)] |= static_cast<uint8_t>(1 << bit % 8);
          elements.push_back(element);
        }
      }
    }
    elements_ = elements.size();
    data.Resize(elements.size() * sizeof(T) + 16);  // what is read further, even if every element is zero
    if (!elements.empty()) std::memcpy(data.as<char>(), elements.data(), elements.size() * sizeof(T));
  }

  int64_t runs_, run_bytes_;
  size_t elements_ = 0;
  std::vector<uint8_t> masks_;   // of each panel's runs, row by row
  std::vector<int64_t> begins_;  // of each panel's runs among the elements
};

}  // namespace

std::shared_ptr<PackedMatrix> CompressSparse(const MatrixSource& source) {
  Require(source.dtype == DType::kF16 || source.dtype == DType::kF32, "sparse matrices are float16 or float32");
  return std::make_shared<SparseMatrix>(source);
}

}  // namespace gristmill
#endif  // HWY_ONCE
