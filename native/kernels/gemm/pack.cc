#include "kernels/gemm/pack.h"

#include <algorithm>
#include <vector>

#include "kernels/gemm/mapped.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/pack.cc"
#include "simd/foreach_target.h"
#include "simd/simd.h"
#include "simd/transpose.h"

GRISTMILL_SIMD_BEGIN

constexpr int64_t kMostOuter = 64;  // taps of a window, say

int64_t PanelWidthHere() { return static_cast<int64_t>(2 * Lanes()); }

// A panel of a matrix of which each column is a run, with `outer` elements of neighbouring rows next to each other: some
// rows are brought together, and then each to its place.
template <typename T>
void PackInterleaved(const MatrixSource& source, const T* from, int64_t columns, T* to) {
  constexpr int64_t kAtOnce = 8;
  const int64_t width = 2 * static_cast<int64_t>(Lanes());
  HWY_ALIGN T run[kAtOnce * kMostOuter * HWY_MAX_BYTES / 2];
  for (int64_t i0 = 0; i0 < source.inner; i0 += kAtOnce) {
    const int64_t count = std::min(kAtOnce, source.inner - i0);
    PackRows(from + i0 * source.outer, 1, source.n_stride, count * source.outer, columns, width, run);
    for (int64_t o = 0; o < source.outer; ++o) {
      for (int64_t i = 0; i < count; ++i) {
        const T* row = run + (i * source.outer + o) * width;
        std::copy(row, row + width, to + (o * source.inner + i0 + i) * width);
      }
    }
  }
}

template <typename T>
void PackPanelOf(const MatrixSource& source, int64_t panel, int64_t width, T* to) {
  const int64_t n0 = panel * width, columns = std::min(width, source.n - n0);
  const T* from = static_cast<const T*>(source.data) + n0 * source.n_stride;
  const bool interleaved = source.outer_stride == 1 && source.inner_stride == source.outer;
  if (interleaved && source.outer > 1 && source.outer <= kMostOuter) return PackInterleaved(source, from, columns, to);
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
#if HWY_TARGET <= HWY_AVX2
  if (source.outer == 1 && source.inner_stride == 1 && columns == width && source.inner % 8 == 0) {
    const uint16_t* from = static_cast<const uint16_t*>(source.data) + n0 * source.n_stride;
    for (int64_t i = 0; i < source.inner; i += 8) {
      for (int64_t j = 0; j < width; j += 8) TransposeSquare(from + j * source.n_stride + i, source.n_stride, to + i * width + j, width);
    }
    return;
  }
#endif
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

namespace {

std::shared_ptr<PackedMatrix> Unfilled(const MatrixSource& source) {
  Require(source.dtype == DType::kF16 || source.dtype == DType::kF32, "packed matrices are float16 or float32");
  auto packed = std::make_shared<PackedMatrix>();
  packed->k = source.k();
  packed->n = source.n;
  packed->width = PanelWidth();
  packed->dtype = source.dtype;
  packed->data = SharedBlock(packed->bytes());
  packed->at = packed->data.as<char>();
  return packed;
}

// Bytes that are read at once: a few parts for each thread even of small matrices, and enough for one call.
constexpr int64_t kPartBytes = int64_t{1} << 19;

// Elements from the first to behind the last one of so many columns.
int64_t Extent(const MatrixSource& source, int64_t columns) {
  if (source.k() == 0 || columns == 0) return 0;
  return (source.outer - 1) * source.outer_stride + (source.inner - 1) * source.inner_stride +
         (columns - 1) * source.n_stride + 1;
}

}  // namespace

std::shared_ptr<PackedMatrix> PackMatrix(const MatrixSource& source) {
  auto packed = Unfilled(source);
  // Waking threads costs more than packing a small matrix, and more again while they are busy with loading.
  const int threads = static_cast<int64_t>(packed->size()) < kPartBytes ? 1 : DefaultThreads();
  ThreadPool::Global().Run(packed->panels(), threads, [&](int64_t p, int) {
    HWY_DYNAMIC_DISPATCH(PackPanel)(source, p, packed->width, const_cast<char*>(packed->panel(p)));
  });
  return packed;
}

std::shared_ptr<PackedMatrix> PackMatrix(const MatrixSource& source, const FileRange& file, std::string name,
                                         bool stays) {
  if (stays && StaysInFile(source, file)) return MapMatrix(source, file, std::move(name));
  auto packed = Unfilled(source);
  const auto size = static_cast<int64_t>(SizeOf(source.dtype));
  // Reads what a part's elements lie between, and packs them to `at` in each of `panels` panels.
  const auto pack = [=](MatrixSource part, int64_t from, int64_t first, int64_t panels, int64_t at) {
    const int64_t bytes = Extent(part, part.n) * size;
    Buffer room;
    part.data = BytesOf(file, from * size, bytes, room);
    if (part.data == nullptr) return false;
    for (int64_t p = 0; p < panels; ++p) {
      HWY_DYNAMIC_DISPATCH(PackPanel)(part, p, packed->width, const_cast<char*>(packed->panel(first + p)) + at);
    }
    return file.Done(from * size, bytes);
  };
  const auto count = [](int64_t all, int64_t each) { return std::max<int64_t>(1, kPartBytes / std::max<int64_t>(1, all / each)); };
  if (source.n_stride >= Extent(source, 1)) {  // some columns, with all of their rows
    const int64_t each = count(Extent(source, source.n) * size, packed->panels());
    packed->data.Load(Loading::Begin(std::move(name), (packed->panels() + each - 1) / each, [=](int64_t i) {
      const int64_t first = i * each, panels = std::min(each, packed->panels() - first);
      MatrixSource part = source;
      part.n = std::min(panels * packed->width, source.n - first * packed->width);
      return pack(part, first * packed->width * source.n_stride, first, panels, 0);
    }));
  } else if (source.outer == 1 && source.inner_stride >= (source.n - 1) * source.n_stride + 1) {  // some rows
    const int64_t each = count(Extent(source, source.n) * size, source.inner);
    packed->data.Load(Loading::Begin(std::move(name), (source.inner + each - 1) / each, [=](int64_t i) {
      MatrixSource part = source;
      part.inner = std::min(each, source.inner - i * each);
      return pack(part, i * each * source.inner_stride, 0, packed->panels(), i * each * packed->width * size);
    }));
  } else {
    packed->data.Load(Loading::Begin(std::move(name), 1, [=](int64_t) { return pack(source, 0, 0, packed->panels(), 0); }));
  }
  return packed;
}

void PackPanelAsIs(const MatrixSource& source, int64_t panel, char* to) {
  HWY_DYNAMIC_DISPATCH(PackPanel)(source, panel, PanelWidth(), to);
}

void PackPanelAsFloats(const MatrixSource& source, int64_t panel, float* to) {
  if (source.dtype == DType::kF32) {
    HWY_DYNAMIC_DISPATCH(PackPanel)(source, panel, PanelWidth(), reinterpret_cast<char*>(to));
  } else {
    HWY_DYNAMIC_DISPATCH(PackPanelWidened)(source, panel, PanelWidth(), to);
  }
}

void PackPanels(const MatrixSource& source, int64_t p0, int64_t p1, float* to) {
  for (int64_t p = p0; p < p1; ++p) PackPanelAsFloats(source, p, to + p * source.k() * PanelWidth());
}

}  // namespace gristmill
#endif  // HWY_ONCE
