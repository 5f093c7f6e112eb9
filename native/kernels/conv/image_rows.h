// Pixels under the taps of a convolution, as rows of a matrix (implicit im2col).
#pragma once

#include "kernels/conv/image.h"
#include "kernels/gemm/gemm.h"

namespace gristmill {

// How places of a result meet places of an operand along one spatial axis. The j-th place is out_start + j·out_step in
// the result, and its tap t reads start + j·step + offsets[t] in the operand, or zero where that is outside.
struct GridAxis {
  int64_t size = 1, count = 1, start = 0, step = 1;
  std::vector<int64_t> offsets{0};
  int64_t out_size = 1, out_start = 0, out_step = 1;
};

struct Grid {
  std::array<GridAxis, kSpatial> axes;
  int64_t batch = 1, channels = 1;  // of the operand

  int64_t rows() const { return batch * axes[0].count * axes[1].count * axes[2].count; }
  int64_t taps() const {
    return static_cast<int64_t>(axes[0].offsets.size() * axes[1].offsets.size() * axes[2].offsets.size());
  }
};

// Row m holds, for the m-th place of the grid, under each tap the channels [first, first + count).
class ImageRows : public RowSource {
 public:
  ImageRows(const Grid& grid, const Tensor& x, int64_t first, int64_t count)
      : grid_(grid), x_(x), first_(first), count_(count) {
    const GridAxis& last = grid.axes[2];
    bool neighbours = count == grid.channels;
    for (size_t t = 1; neighbours && t < last.offsets.size(); ++t) {
      neighbours = last.offsets[t] == last.offsets[t - 1] + 1;
    }
    neighbours_ = neighbours && !last.offsets.empty();
    for (const GridAxis& axis : grid.axes) {
      in_order_ = in_order_ && axis.out_start == 0 && axis.out_step == 1 && axis.count == axis.out_size;
    }
  }

  const float* Rows(int64_t m0, int64_t rows, int64_t k0, int64_t depth, float* to, int64_t& ld) const override;
  int64_t ResultRow(int64_t m) const override {
    int64_t place = 0, scale = 1;
    for (size_t a = kSpatial; a-- > 0;) {
      const GridAxis& axis = grid_.axes[a];
      place += (axis.out_start + m % axis.count * axis.out_step) * scale;
      m /= axis.count;
      scale *= axis.out_size;
    }
    return place + m * scale;
  }
  bool in_order() const override { return in_order_; }

  const Grid& grid() const { return grid_; }
  const Tensor& x() const { return x_; }
  int64_t first() const { return first_; }
  int64_t count() const { return count_; }
  // Whether the taps along the last axis read one run of memory.
  bool neighbours() const { return neighbours_; }

 private:
  const Grid& grid_;
  Tensor x_;
  int64_t first_, count_;
  bool neighbours_ = false, in_order_ = true;
};

}  // namespace gristmill
