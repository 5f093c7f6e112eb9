// Matrices in the order in which products read them.
#pragma once

#include <memory>
#include <string>

#include "core/buffer.h"
#include "core/file.h"
#include "core/kernel.h"

namespace gristmill {

// Runs of memory, each of `bytes`, `pitch` bytes from the one before.
struct Lines {
  const char* at = nullptr;
  int64_t bytes = 0, pitch = 0, count = 0;
};

struct Panels;

// Makes blocks of panels that are not stored as floats.
class BlockDecoder {
 public:
  virtual ~BlockDecoder() = default;

  // Writes rows [k0, k0 + depth) of a panel, in the panels' element type; k0 is a multiple of 64.
  virtual void Decode(int64_t panel, int64_t k0, int64_t depth, char* to) const = 0;

  // The same matrix as stored panels, if there are any by now; Store makes them, where panels can be stored.
  virtual const Panels* Stored() const { return nullptr; }
  virtual void Store() const {}

  // The memory that Decode will read, to be fetched beforehand.
  virtual Lines Read(int64_t panel, int64_t k0, int64_t depth) const {
    (void)panel, (void)k0, (void)depth;
    return {};
  }

  // C[rows, width] (+)= A[rows, depth] · B[k0 … k0+depth, panel] of few rows, from what is stored. Returns false, and does
  // nothing, where products of decoded elements have to be taken.
  virtual bool Multiply(int64_t panel, int64_t k0, int64_t depth, const float* a, int64_t lda, int64_t rows, float* c,
                        int64_t ldc, bool accumulate) const {
    (void)panel, (void)k0, (void)depth, (void)a, (void)lda, (void)rows, (void)c, (void)ldc, (void)accumulate;
    return false;
  }
};

// A matrix B [K, N] cut into panels of `width` columns, each panel holding its K rows one after the other. The last
// panel is filled up with zeros. Stored as float16 where the values were, else as float32; or known to a decoder alone.
struct Panels {
  int64_t k = 0, n = 0, width = 0;
  DType dtype = DType::kF32;
  const char* at = nullptr;
  const BlockDecoder* decoder = nullptr;

  // What to multiply by now: products do not depend on how the matrix is stored.
  const Panels& Now() const {
    const Panels* stored = decoder == nullptr ? nullptr : decoder->Stored();
    return stored == nullptr ? *this : *stored;
  }

  int64_t panels() const { return (n + width - 1) / width; }
  const char* panel(int64_t p) const { return at + p * k * width * SizeOf(dtype); }
  size_t size() const { return static_cast<size_t>(panels() * k * width) * SizeOf(dtype); }
  Panels Placed(const char* where) const {
    Panels placed = *this;
    placed.at = where;
    return placed;
  }
};

// Panels of a constant, with the memory that holds them.
struct PackedMatrix : Prepared, Panels {
  Buffer data;

  size_t bytes() const override { return size(); }
  void Finish() const override { data.Finish(); }
  // Where its elements lie in their file in another order than that of products, they are brought into this one in working
  // memory until they are packed for good: as many bytes, panels without memory, and those to multiply by now.
  virtual size_t room() const { return 0; }
  virtual Panels Shape() const { return *this; }
  virtual Panels InOrder(char* room, const Workspace& workspace) const {
    (void)room, (void)workspace;
    return *this;
  }
  // How its elements are stored, for profiles.
  virtual std::string form() const { return dtype == DType::kF16 ? "f16 weights" : "f32 weights"; }
};

// Columns of a panel on this machine: two vectors.
int64_t PanelWidth();

// Where the elements of a matrix [outer·inner, N] are: row o·inner + i and column n at o·outer_stride + i·inner_stride +
// n·n_stride.
struct MatrixSource {
  DType dtype;
  const void* data;
  int64_t outer, inner, n;
  int64_t outer_stride, inner_stride, n_stride;

  static MatrixSource Of(DType dtype, const void* data, int64_t k, int64_t n, int64_t k_stride, int64_t n_stride) {
    return {dtype, data, 1, k, n, 0, k_stride, n_stride};
  }
  int64_t k() const { return outer * inner; }
};

// Packs a constant, by as many threads as the process uses.
std::shared_ptr<PackedMatrix> PackMatrix(const MatrixSource& source);

// The same of the constant `name`, whose elements begin where a file's range does: `source.data` counts for nothing. It is
// read and packed in the background, in parts as far as columns or rows lie one after the other in the file, so that little
// memory is taken beside the packed matrix. Where it `stays`, a large matrix in a mapped file whose columns are runs of it is
// used there: it is brought into order again for each product, which costs little beside multiplying many rows.
std::shared_ptr<PackedMatrix> PackMatrix(const MatrixSource& source, const FileRange& file, std::string name, bool stays);

// Packs a panel as it is stored, or as float32; or panels [p0, p1) so, to where they are in room for all panels.
void PackPanelAsIs(const MatrixSource& source, int64_t panel, char* to);
void PackPanelAsFloats(const MatrixSource& source, int64_t panel, float* to);
void PackPanels(const MatrixSource& source, int64_t p0, int64_t p1, float* to);

}  // namespace gristmill
