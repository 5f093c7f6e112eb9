// Constant matrices that stay compressed in memory, and are decoded a block of a panel at a time.
//
// A decoded element has the bits that the dense matrix would have, so a product does not depend on how its matrix is
// stored; but for products of few rows, which wait for memory, sums of codes may be scaled as a whole instead (see
// AffineMeaning). Codes of a few bits stand for numbers by scales and zero points, or by look-up tables.
#pragma once

#include <memory>

#include "kernels/gemm/pack.h"

namespace gristmill {

// A matrix of unsigned codes under 2^bits, one a byte.
struct CodeSource {
  int bits;  // 1, 2, 3, 4, 6 or 8
  const uint8_t* data;
  int64_t outer, inner, n;  // as in MatrixSource
  int64_t outer_stride, inner_stride, n_stride;

  int64_t k() const { return outer * inner; }
};

// What codes stand for: scale·(code - zero point), rounded to float32, and then to float16 where the matrix is. Scales and
// zero points are matrices [K / block, N] of one type: a row for each `block` rows of the codes. Zero points are integers
// under 256. Unless `rounded`, products of few rows are scale·Σ(code - zero point)·x for each block: they leave those
// roundings out, and so are more precise.
struct AffineMeaning {
  DType dtype;
  const void* scale;
  const void* zero_point;  // nullptr where `zero` is everybody's
  float zero;
  int64_t block;
  bool half;     // the matrix is float16
  bool rounded;  // each element is rounded to the matrix's type before it is multiplied
};

// What codes stand for: entries of tables. The columns are cut into `tables` groups of one size, each with its table.
struct TableMeaning {
  const float* entries;  // [tables, 2^bits]
  int64_t tables;
};

// Both throw Error for codes that do not fit into their bits. `name` says what the codes are, as "int4".
std::shared_ptr<PackedMatrix> CompressAffine(const CodeSource& codes, const AffineMeaning& meaning,
                                             const std::string& name);
std::shared_ptr<PackedMatrix> CompressTable(const CodeSource& codes, const TableMeaning& meaning);

}  // namespace gristmill
