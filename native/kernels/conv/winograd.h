// Winograd's minimal filtering for 3×3 windows (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
// 2016): tiles of M×M results from (M+2)×(M+2) products of transformed pixels and transformed weights.
#pragma once

#include <memory>

#include "kernels/gemm/pack.h"

namespace gristmill {

// Transformed weights: for each of the (tile+2)² places a packed float32 matrix [C, O].
struct WinogradWeight : Prepared {
  int64_t tile = 0, channels = 0, made = 0;
  Panels shape;
  Buffer data;

  int64_t places() const { return (tile + 2) * (tile + 2); }
  Panels at(int64_t place) const { return shape.Placed(data.as<char>() + static_cast<int64_t>(shape.size()) * place); }
  size_t bytes() const override { return shape.size() * static_cast<size_t>(places()); }
  void Finish() const override { data.Finish(); }
};

// From a float16 weight [O, C, 3, 3]; `tile` is 2 or 4.
std::shared_ptr<WinogradWeight> TransformWeight(const void* weight, int64_t made, int64_t channels, int64_t tile);

// The same of the constant `name`, which begins where a file's range does: in the background.
std::shared_ptr<WinogradWeight> TransformWeight(const FileRange& file, int64_t made, int64_t channels, int64_t tile,
                                                std::string name);

}  // namespace gristmill
