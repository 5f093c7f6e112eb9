// Images as convolutions and pooling see them: channels last, always three spatial axes, the outer ones of size 1 where
// the tensor has fewer.
#pragma once

#include <array>
#include <vector>

#include "core/kernel.h"

namespace gristmill {

constexpr size_t kSpatial = 3;

struct Image {
  int64_t batch = 1, channels = 1;
  std::array<int64_t, kSpatial> sizes{1, 1, 1};

  // Throws Error unless the shape is [N, spatial…, C] with one to three spatial axes.
  static Image Of(const Shape& shape) {
    Require(shape.rank >= 3 && shape.rank <= 2 + kSpatial, "images have one to three spatial axes");
    Image image;
    image.batch = shape[0];
    image.channels = shape[shape.rank - 1];
    const size_t spatial = shape.rank - 2;
    for (size_t axis = 0; axis < spatial; ++axis) image.sizes[kSpatial - spatial + axis] = shape[1 + axis];
    return image;
  }
  int64_t pixels() const { return sizes[0] * sizes[1] * sizes[2]; }
};

// Throws Error where the result of sliding windows over an image has no pixels.
inline void RequireWindows(const Image& result) {
  Require(result.pixels() > 0, "no window fits into the padded image");
}

// A parameter given for each spatial axis of a tensor, for all three.
inline std::array<int64_t, kSpatial> Spatial(const std::vector<int64_t>& values, int64_t missing) {
  Require(values.size() <= kSpatial, "one number for each spatial axis");
  std::array<int64_t, kSpatial> made;
  made.fill(missing);
  for (size_t i = 0; i < values.size(); ++i) made[kSpatial - values.size() + i] = values[i];
  return made;
}

// How windows slide over an image; the arguments "kernel", "strides", "dilations" and "before" of a kernel. `before`,
// the padding in front, may depend on the sizes.
struct Windows {
  explicit Windows(const Attributes& attributes)
      : kernel(Spatial(attributes.get<std::vector<int64_t>>("kernel"), 1)),
        strides(Spatial(attributes.get<std::vector<int64_t>>("strides"), 1)),
        dilations(Spatial(attributes.get<std::vector<int64_t>>("dilations"), 1)),
        before_sizes(attributes.get<std::vector<SizeRef>>("before")) {
    for (size_t axis = 0; axis < kSpatial; ++axis) {
      Require(kernel[axis] > 0 && strides[axis] > 0 && dilations[axis] > 0, "windows have positive sizes");
    }
  }

  void Configure(const SizeTable& table) {
    std::vector<int64_t> values;
    for (SizeRef size : before_sizes) values.push_back(table[size.entry]);
    before = Spatial(values, 0);
  }
  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }

  std::array<int64_t, kSpatial> kernel, strides, dilations, before{};
  std::vector<SizeRef> before_sizes;
};

}  // namespace gristmill
