// Windows that slide over the spatial axes of a channels-last tensor: what convolution and pooling share.
#pragma once

#include <algorithm>
#include <array>

#include "core/kernel.h"

namespace gristmill {

// One to three spatial axes; the missing ones, in front, have size 1.
struct Windows {
  int64_t batch = 1, channels = 1;
  std::array<int64_t, 3> in{1, 1, 1}, out{1, 1, 1}, kernel{1, 1, 1}, stride{1, 1, 1}, dilation{1, 1, 1},
      before{0, 0, 0}, after{0, 0, 0};

  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
  int64_t pixels() const { return batch * out[0] * out[1] * out[2]; }

  // Takes the arguments "kernel", "strides" and "dilations", and the sizes "before" and "after". Throws Error where they
  // do not fit the shapes, which are [N, spatial…, C].
  static Windows From(const Attributes& attributes, const Shape& from, const Shape& to, const SizeTable& sizes) {
    const size_t spatial = from.rank - 2;
    Require(from.rank >= 3 && from.rank <= 5 && to.rank == from.rank, "windows slide over one to three axes");
    Windows w;
    w.batch = from[0];
    w.channels = from[from.rank - 1];
    Require(to[0] == from[0], "windows keep the batch");
    auto numbers = [&](const char* name) -> const std::vector<int64_t>& {
      const auto& list = attributes.get<std::vector<int64_t>>(name);
      Require(list.size() == spatial, "one number for each spatial axis");
      for (int64_t n : list) Require(n >= 1, "windows have positive sizes and steps");
      return list;
    };
    const auto &kernel = numbers("kernel"), &strides = numbers("strides"), &dilations = numbers("dilations");
    const auto& before = attributes.get<std::vector<SizeRef>>("before");
    const auto& after = attributes.get<std::vector<SizeRef>>("after");
    Require(before.size() == spatial && after.size() == spatial, "padding for each spatial axis");
    for (size_t i = 0; i < spatial; ++i) {
      const size_t axis = 3 - spatial + i;
      w.in[axis] = from[i + 1];
      w.out[axis] = to[i + 1];
      w.kernel[axis] = kernel[i];
      w.stride[axis] = strides[i];
      w.dilation[axis] = dilations[i];
      w.before[axis] = sizes[before[i].entry];
      w.after[axis] = sizes[after[i].entry];
      Require(w.before[axis] >= 0 && w.after[axis] >= 0, "padding is not negative");
    }
    return w;
  }

  // The first input element of an output place along an axis; may lie in the padding.
  int64_t Start(size_t axis, int64_t place) const { return place * stride[axis] - before[axis]; }

  // Splits the number of an output pixel into the image it is in and its places.
  void Locate(int64_t pixel, int64_t& image, std::array<int64_t, 3>& place) const {
    for (size_t axis = 3; axis-- > 0; pixel /= out[axis]) place[axis] = pixel % out[axis];
    image = pixel;
  }

  // Calls fn(tap, offset) for each tap of an output pixel that lies inside the input; `offset` counts elements.
  template <typename F>
  void EachTap(int64_t pixel, const F& fn) const {
    int64_t image = 0;
    std::array<int64_t, 3> place;
    Locate(pixel, image, place);
    for (int64_t a = 0; a < kernel[0]; ++a) {
      const int64_t z = Start(0, place[0]) + a * dilation[0];
      if (z < 0 || z >= in[0]) continue;
      for (int64_t b = 0; b < kernel[1]; ++b) {
        const int64_t y = Start(1, place[1]) + b * dilation[1];
        if (y < 0 || y >= in[1]) continue;
        for (int64_t c = 0; c < kernel[2]; ++c) {
          const int64_t x = Start(2, place[2]) + c * dilation[2];
          if (x < 0 || x >= in[2]) continue;
          fn((a * kernel[1] + b) * kernel[2] + c, (((image * in[0] + z) * in[1] + y) * in[2] + x) * channels);
        }
      }
    }
  }
};

}  // namespace gristmill
