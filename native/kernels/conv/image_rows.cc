#include "kernels/conv/image_rows.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/conv/image_rows.cc"
#include "simd/foreach_target.h"
#include "simd/simd.h"

GRISTMILL_SIMD_BEGIN

// Widens a run. May write up to a vector past its end, where the next run follows or the row has room; reads past the
// end only inside the tensor.
template <typename T>
HWY_INLINE void CopyRun(const T* from, const T* end, float* to, int64_t count) {
  const int64_t lanes = static_cast<int64_t>(Lanes());
  int64_t i = 0;
  for (; i < count && from + i + lanes <= end; i += lanes) StoreF(LoadF(from + i), to + i);
  if (i < count) ConvertRun(from + i, to + i, static_cast<size_t>(count - i));
}

HWY_INLINE void ZeroRun(float* to, int64_t count) {
  for (int64_t i = 0; i < count; i += static_cast<int64_t>(Lanes())) StoreF(hn::Zero(F32()), to + i);
}

template <typename T>
void Gather(const ImageRows& source, int64_t m0, int64_t rows, int64_t k0, int64_t depth, float* to, int64_t ld) {
  const Grid& grid = source.grid();
  const auto& axes = grid.axes;
  const T* x = source.x().as<T>();
  const T* end = x + source.x().shape.size();
  const int64_t channels = grid.channels, count = source.count();
  const int64_t taps1 = static_cast<int64_t>(axes[1].offsets.size()), taps2 = static_cast<int64_t>(axes[2].offsets.size());
  const bool joined = source.neighbours();
  const int64_t run = joined ? taps2 * count : count, steps2 = joined ? 1 : taps2;
  int64_t place[kSpatial], rest = m0;
  for (size_t a = kSpatial; a-- > 0; rest /= axes[a].count) place[a] = rest % axes[a].count;
  int64_t image = rest;
  for (int64_t i = 0; i < rows; ++i, to += ld) {
    const int64_t at0 = axes[0].start + place[0] * axes[0].step, at1 = axes[1].start + place[1] * axes[1].step;
    const int64_t at2 = axes[2].start + place[2] * axes[2].step;
    int64_t segment = k0 / run, inside = k0 % run;
    int64_t t2 = segment % steps2, t1 = segment / steps2 % taps1, t0 = segment / steps2 / taps1;
    for (int64_t done = 0; done < depth; inside = 0) {
      const int64_t part = std::min(run - inside, depth - done);
      const int64_t i0 = at0 + axes[0].offsets[t0], i1 = at1 + axes[1].offsets[t1];
      float* out = to + done;
      if (i0 < 0 || i0 >= axes[0].size || i1 < 0 || i1 >= axes[1].size) {
        ZeroRun(out, part);
      } else {
        const T* row = x + ((image * axes[0].size + i0) * axes[1].size + i1) * axes[2].size * channels;
        const int64_t i2 = at2 + axes[2].offsets[t2];
        if (!joined) {
          if (i2 < 0 || i2 >= axes[2].size) {
            ZeroRun(out, part);
          } else {
            CopyRun(row + i2 * channels + source.first() + inside, end, out, part);
          }
        } else {  // the part of the run that lies in the image, zeros around it
          const int64_t from = i2 * channels + inside, width = axes[2].size * channels;
          const int64_t low = std::clamp<int64_t>(-from, 0, part), high = std::clamp<int64_t>(width - from, low, part);
          ZeroRun(out, low);
          CopyRun(row + from + low, end, out + low, high - low);
          ZeroRun(out + high, part - high);
        }
      }
      done += part;
      if (++t2 == steps2) {
        t2 = 0;
        if (++t1 == taps1) t1 = 0, ++t0;
      }
    }
    for (size_t a = kSpatial; a-- > 0;) {
      if (++place[a] < axes[a].count) break;
      place[a] = 0;
      if (a == 0) ++image;
    }
  }
}

void GatherRows(const ImageRows& source, int64_t m0, int64_t rows, int64_t k0, int64_t depth, float* to, int64_t ld) {
  if (depth == 0) return;
  if (source.x().dtype == DType::kF16) {
    Gather<half>(source, m0, rows, k0, depth, to, ld);
  } else {
    Gather<float>(source, m0, rows, k0, depth, to, ld);
  }
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {

HWY_EXPORT(GatherRows);

const float* ImageRows::Rows(int64_t m0, int64_t rows, int64_t k0, int64_t depth, float* to, int64_t& ld) const {
  HWY_DYNAMIC_DISPATCH(GatherRows)(*this, m0, rows, k0, depth, to, ld);
  return to;
}

}  // namespace gristmill
#endif  // HWY_ONCE
