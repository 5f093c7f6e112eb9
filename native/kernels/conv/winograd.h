// Winograd's minimal filtering for 3×3 windows (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
// 2016): tiles of M×M results from (M+2)×(M+2) products of transformed pixels and transformed weights.
#pragma once

#include <memory>

#include "kernels/gemm/pack.h"

namespace gristmill {

// Transformed weights: for each of the (tile+2)² places a float32 matrix [C, O] in panels, one after the other.
struct WinogradWeight : Prepared {
  WinogradWeight(int64_t made, int64_t channels, int64_t tile);

  int64_t tile, channels, made;
  Panels shape;  // of one place's matrix
  Buffer data;

  int64_t places() const { return (tile + 2) * (tile + 2); }
  Panels At(char* matrices, int64_t place) const { return shape.Placed(matrices + static_cast<int64_t>(shape.size()) * place); }
  size_t bytes() const override { return shape.size() * static_cast<size_t>(places()); }
  void Finish() const override { data.Finish(); }

  // Where weights are still in their file, they are transformed in working memory until that is done for good: as many
  // bytes, and the matrices to multiply by now.
  virtual size_t room() const { return 0; }
  virtual char* Transformed(char* room, const Workspace& workspace) const {
    (void)room, (void)workspace;
    return data.as<char>();
  }
};

// From a float16 weight [O, C, 3, 3]; `tile` is 2 or 4.
std::shared_ptr<WinogradWeight> TransformWeight(const void* weight, int64_t made, int64_t channels, int64_t tile);

// The same of the constant `name`, which begins where a file's range does. In the background; of a mapped file, after the
// first run.
std::shared_ptr<WinogradWeight> TransformWeight(const FileRange& file, int64_t made, int64_t channels, int64_t tile,
                                                std::string name);

}  // namespace gristmill
