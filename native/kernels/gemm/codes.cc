#include "kernels/gemm/codes.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/codes.cc"
#include "simd/foreach_target.h"
#include "simd/simd.h"

GRISTMILL_SIMD_BEGIN

// One field of a group's codes, put at bit `kAt` of each; the first field overwrites what was there.
template <int kBits, int kAt>
HWY_INLINE void UnpackField(const uint8_t* HWY_RESTRICT from, uint8_t* HWY_RESTRICT to) {
  constexpr uint8_t kMask = (1 << kBits) - 1;
  for (int line = 0; line < kBits; ++line, from += kLine) {
    for (int shift = 0; shift < 8; shift += kBits, to += kLine) {
      for (int64_t j = 0; j < kLine; ++j) {
        const uint8_t field = static_cast<uint8_t>(((from[j] >> shift) & kMask) << kAt);
        to[j] = kAt == 0 ? field : static_cast<uint8_t>(to[j] | field);
      }
    }
  }
}

template <int kLow, int kHigh>
void UnpackGroups(const uint8_t* from, int64_t groups, uint8_t* to) {
  for (int64_t g = 0; g < groups; ++g, from += kLine * (kLow + kHigh), to += kGroup) {
    UnpackField<kLow, 0>(from, to);
    if constexpr (kHigh != 0) UnpackField<kHigh, kLow>(from + kLine * kLow, to);
  }
}

// Codes of whole groups, one a byte: where they are, or unpacked to `to`.
const uint8_t* Unpacked(const uint8_t* from, int bits, int64_t groups, uint8_t* to) {
  const auto unpack = bits == 1   ? UnpackGroups<1, 0>
                      : bits == 2 ? UnpackGroups<2, 0>
                      : bits == 3 ? UnpackGroups<2, 1>
                      : bits == 4 ? UnpackGroups<4, 0>
                      : bits == 6 ? UnpackGroups<4, 2>
                                  : nullptr;
  if (unpack == nullptr) return from;
  unpack(from, groups, to);
  return to;
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {

HWY_EXPORT(Unpacked);

const uint8_t* UnpackedCodes(const uint8_t* from, int bits, int64_t groups, uint8_t* to) {
  return HWY_DYNAMIC_DISPATCH(Unpacked)(from, bits, groups, to);
}

namespace {

// Bits of a code's first field; the others are the second one.
int FirstField(int bits) { return bits >= 8 ? 8 : bits >= 4 ? 4 : bits >= 2 ? 2 : 1; }

void PackField(const uint8_t* from, int bits, int at, uint8_t* to) {
  for (int line = 0; line < bits; ++line, to += kLine) {
    for (int shift = 0; shift < 8; shift += bits, from += kLine) {
      for (int64_t j = 0; j < kLine; ++j) {
        to[j] = static_cast<uint8_t>(to[j] | ((from[j] >> at) & ((1 << bits) - 1)) << shift);
      }
    }
  }
}

}  // namespace

CodedMatrix::CodedMatrix(const CodeSource& source) : bits_(source.bits) {
  Require(bits_ == 1 || bits_ == 2 || bits_ == 3 || bits_ == 4 || bits_ == 6 || bits_ == 8, "codes of such bits");
  k = source.k();
  n = source.n;
  width = PanelWidth();
  decoder = this;
  panel_bytes_ = (k * width + kGroup - 1) / kGroup * kLine * bits_;
  data.Resize(static_cast<size_t>(panels() * panel_bytes_));
  std::atomic<bool> fit{true};
  ThreadPool::Global().Run(panels(), DefaultThreads(), [&](int64_t p, int) {
    if (!PackPanel(source, p)) fit.store(false, std::memory_order_relaxed);
  });
  Require(fit.load(), "a code of a compressed weight does not fit into its bits");
}

// Returns whether all codes fit.
bool CodedMatrix::PackPanel(const CodeSource& source, int64_t panel) {
  const int64_t n0 = panel * width, columns = std::min(width, n - n0);
  std::vector<uint8_t> rows(static_cast<size_t>((k * width + kGroup - 1) / kGroup * kGroup));
  uint8_t all = 0;
  for (int64_t j = 0; j < columns; ++j) {
    for (int64_t o = 0; o < source.outer; ++o) {
      const uint8_t* from = source.data + (n0 + j) * source.n_stride + o * source.outer_stride;
      uint8_t* to = rows.data() + o * source.inner * width + j;
      for (int64_t i = 0; i < source.inner; ++i) {
        to[i * width] = from[i * source.inner_stride];
        all |= to[i * width];
      }
    }
  }
  uint8_t* to = data.as<uint8_t>() + panel * panel_bytes_;
  memset(to, 0, static_cast<size_t>(panel_bytes_));
  const int first = FirstField(bits_);
  for (size_t i = 0; i < rows.size(); i += kGroup, to += kLine * bits_) {
    PackField(rows.data() + i, first, 0, to);
    if (bits_ > first) PackField(rows.data() + i, bits_ - first, first, to + kLine * first);
  }
  return all >> bits_ == 0;
}

}  // namespace gristmill
#endif  // HWY_ONCE
