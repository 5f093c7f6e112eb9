// Matrices of codes of a few bits.
#pragma once

#include <cstdint>

#include "kernels/gemm/decode.h"

namespace gristmill {

// Codes lie in groups of 128 elements, in the order of panels; of a panel's last group a part may be nobody's. A code is
// one or two fields of 1, 2, 4 or 8 bits, and a group holds all its first fields before its second ones. A field of b
// bits takes 16·b bytes: byte j of its i-th 16 holds the elements j, 16 + j, … of the i-th 128 / b, lowest bits first.
// So 16 neighbours come out of 16 bytes with one shift and one mask.
constexpr int64_t kGroup = 128, kLine = 16;
constexpr int64_t kRun = 64;  // rows decoded at a time; of any panel they are whole groups
constexpr int64_t kMostWidth = 2 * 64 / sizeof(float);  // of a panel: two vectors

// Codes of whole groups, one a byte: where they are, or unpacked to `to`.
const uint8_t* UnpackedCodes(const uint8_t* from, int bits, int64_t groups, uint8_t* to);

// A matrix of codes; what they stand for is a subclass's.
class CodedMatrix : public PackedMatrix, public BlockDecoder {
 public:
  // Throws Error for codes that do not fit into their bits.
  explicit CodedMatrix(const CodeSource& source);

  size_t bytes() const override { return static_cast<size_t>(panels() * panel_bytes_); }

 protected:
  // The codes of a panel's rows from `row` on, which is a multiple of kRun.
  const uint8_t* CodesAt(int64_t panel, int64_t row) const {
    return data.as<uint8_t>() + panel * panel_bytes_ + row * width / kGroup * kLine * bits_;
  }

  int bits_;

 private:
  bool PackPanel(const CodeSource& source, int64_t panel);

  int64_t panel_bytes_;
};

}  // namespace gristmill
