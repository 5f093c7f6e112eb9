#include "kernels/gemm/decode.h"

#include <algorithm>
#include <atomic>
#include <type_traits>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/decode.cc"
#include "simd/foreach_target.h"
#include "simd/simd.h"

#ifndef GRISTMILL_DECODE_ONCE
#define GRISTMILL_DECODE_ONCE
namespace gristmill {

// Codes of a panel's rows that share their scales.
struct ScaledBlock {
  const uint8_t* codes;
  int64_t rows;
  DType dtype;  // of scales and zero points
  const char *scale, *zero_point;
  float zero;
};

}  // namespace gristmill
#endif  // GRISTMILL_DECODE_ONCE

GRISTMILL_SIMD_BEGIN

// One field of a group's codes, put at bit `kAt` of each; the first field overwrites what was there.
template <int kBits, int kAt>
HWY_INLINE void UnpackField(const uint8_t* HWY_RESTRICT from, uint8_t* HWY_RESTRICT to) {
  constexpr uint8_t kMask = (1 << kBits) - 1;
#pragma GCC unroll 8
  for (int line = 0; line < kBits; ++line, from += kLine) {
#pragma GCC unroll 8
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
  switch (bits) {
    case 1:
      UnpackGroups<1, 0>(from, groups, to);
      return to;
    case 2:
      UnpackGroups<2, 0>(from, groups, to);
      return to;
    case 3:
      UnpackGroups<2, 1>(from, groups, to);
      return to;
    case 4:
      UnpackGroups<4, 0>(from, groups, to);
      return to;
    case 6:
      UnpackGroups<4, 2>(from, groups, to);
      return to;
    default:
      return from;
  }
}

// Rows of one block of scales. `zero` stands for all zero points where there are none.
template <typename Scale, typename To>
void ScaledRows(const uint8_t* HWY_RESTRICT codes, int64_t rows, const Scale* scale, const Scale* zero_point, float zero,
                To* HWY_RESTRICT to) {
  const F32 d;
  const I32 di;
  const hn::Rebind<uint8_t, I32> bytes;
  const int64_t lanes = static_cast<int64_t>(Lanes());
  VF factor[2], shift[2], start[2];
  for (int i = 0; i < 2; ++i) {
    factor[i] = LoadF(scale + i * lanes);
    shift[i] = zero_point == nullptr ? hn::Set(d, zero) : LoadF(zero_point + i * lanes);
    start[i] = hn::Mul(shift[i], hn::Neg(factor[i]));
  }
  for (int64_t k = 0; k < rows; ++k) {
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i, codes += lanes, to += lanes) {
      const VF code = hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(bytes, codes)));
      if constexpr (sizeof(Scale) == sizeof(half)) {  // all products are exact: 11 bits of the scale, 8 of the code
        StoreF(hn::MulAdd(code, factor[i], start[i]), to);
      } else {
        StoreF(hn::Mul(hn::Sub(code, shift[i]), factor[i]), to);
      }
    }
  }
}

template <typename Scale>
void ScaledRows(const ScaledBlock& b, bool halves, char* to) {
  const Scale* factors = reinterpret_cast<const Scale*>(b.scale);
  const Scale* shifts = reinterpret_cast<const Scale*>(b.zero_point);
  if (halves) {
    ScaledRows(b.codes, b.rows, factors, shifts, b.zero, reinterpret_cast<half*>(to));
  } else {
    ScaledRows(b.codes, b.rows, factors, shifts, b.zero, reinterpret_cast<float*>(to));
  }
}

void Scale(const ScaledBlock& b, bool halves, char* to) {
  b.dtype == DType::kF16 ? ScaledRows<half>(b, halves, to) : ScaledRows<float>(b, halves, to);
}

// C[R, width] (+)= scale·Σ A[R, rows]·(code - zero point), for rows of one block of scales. One row has two sums for each
// column: a multiply-add waits for the one before it.
template <int R, typename Scale>
void ScaledSums(const uint8_t* HWY_RESTRICT codes, int64_t rows, const Scale* scale, const Scale* zero_point, float zero,
                const float* HWY_RESTRICT a, int64_t lda, float* HWY_RESTRICT c, int64_t ldc, bool accumulate) {
  constexpr int kSums = R == 1 ? 2 : 1;
  const F32 d;
  const I32 di;
  const hn::Rebind<uint8_t, I32> bytes;
  const int64_t lanes = static_cast<int64_t>(Lanes());
  VF shift[2], sums[kSums][R][2];
  for (int i = 0; i < 2; ++i) shift[i] = zero_point == nullptr ? hn::Set(d, zero) : LoadF(zero_point + i * lanes);
  for (auto& sum : sums)
    for (auto& row : sum) row[0] = row[1] = hn::Zero(d);
  const auto step = [&](int64_t k, int u) HWY_ATTR {
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const VF code = hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(bytes, codes + (2 * k + i) * lanes)));
      const VF number = hn::Sub(code, shift[i]);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) sums[u][r][i] = hn::MulAdd(hn::Set(d, a[r * lda + k]), number, sums[u][r][i]);
    }
  };
  int64_t k = 0;
  for (; k + kSums <= rows; k += kSums) {
#pragma GCC unroll 2
    for (int u = 0; u < kSums; ++u) step(k + u, u);
  }
  for (; k < rows; ++k) step(k, 0);
  for (int r = 0; r < R; ++r) {
    for (int i = 0; i < 2; ++i) {
      float* to = c + r * ldc + i * lanes;
      VF sum = sums[0][r][i];
      if constexpr (kSums == 2) sum = hn::Add(sum, sums[1][r][i]);
      const VF factor = LoadF(scale + i * lanes);
      hn::StoreU(accumulate ? hn::MulAdd(sum, factor, hn::LoadU(d, to)) : hn::Mul(sum, factor), d, to);
    }
  }
}

template <int R>
void MultiplyScaledRows(const ScaledBlock& b, const float* a, int64_t lda, float* c, int64_t ldc, bool accumulate) {
  const auto multiply = [&](auto* scale) HWY_ATTR {
    using Scale = std::remove_pointer_t<decltype(scale)>;
    ScaledSums<R>(b.codes, b.rows, scale, reinterpret_cast<Scale*>(b.zero_point), b.zero, a, lda, c, ldc, accumulate);
  };
  b.dtype == DType::kF16 ? multiply(reinterpret_cast<const half*>(b.scale))
                         : multiply(reinterpret_cast<const float*>(b.scale));
}

void MultiplyScaled(const ScaledBlock& b, int64_t rows, const float* a, int64_t lda, float* c, int64_t ldc,
                    bool accumulate) {
  switch (rows) {
    case 1:
      return MultiplyScaledRows<1>(b, a, lda, c, ldc, accumulate);
    case 2:
      return MultiplyScaledRows<2>(b, a, lda, c, ldc, accumulate);
    case 3:
      return MultiplyScaledRows<3>(b, a, lda, c, ldc, accumulate);
    default:
      return MultiplyScaledRows<4>(b, a, lda, c, ldc, accumulate);
  }
}

// Bytes that a shuffle of tables works on at once: a line for each 16 of them.
#if HWY_TARGET == HWY_SCALAR
int64_t ShuffleLines() { return 0; }
void Shuffle(const uint8_t*, int64_t, const uint8_t* const*, int64_t, int64_t, uint16_t*) {}
#else
using Bytes = hn::CappedTag<uint8_t, 2 * kLine>;
constexpr int64_t kMostLines = 2;
int64_t ShuffleLines() { return static_cast<int64_t>(hn::Lanes(Bytes())) / kLine; }

// Entries of tables of float16, which are given as parts of 16 entries: their low bytes, then their high bytes. `lines`
// tables take turns, one for each 16 elements.
template <int kParts>
void ShuffleParts(const uint8_t* codes, int64_t count, const uint8_t* const* tables, int64_t lines, uint16_t* to) {
  const Bytes d;
  const int64_t size = static_cast<int64_t>(hn::Lanes(d));
  hn::Vec<Bytes> low[kParts], high[kParts];
  for (int part = 0; part < kParts; ++part) {
    HWY_ALIGN uint8_t parts[2][kMostLines * kLine];
    for (int64_t line = 0; line < size / kLine; ++line) {
      for (int side = 0; side < 2; ++side) {
        memcpy(parts[side] + line * kLine, tables[line % lines] + (2 * part + side) * kLine, kLine);
      }
    }
    low[part] = hn::Load(d, parts[0]), high[part] = hn::Load(d, parts[1]);
  }
  for (int64_t i = 0; i < count; i += size) {
    auto code = hn::LoadU(d, codes + i);
    auto l = hn::Zero(d), h = l;
#pragma GCC unroll 16
    for (int part = 0; part < kParts; ++part) {
      if constexpr (kParts == 1) {
        l = hn::TableLookupBytes(low[0], code), h = hn::TableLookupBytes(high[0], code);
      } else {  // codes of other parts get their highest bit set, for which a shuffle gives 0
        const auto own = hn::SaturatedAdd(code, hn::Set(d, 0x70));
        l = hn::Or(l, hn::TableLookupBytesOr0(low[part], own));
        h = hn::Or(h, hn::TableLookupBytesOr0(high[part], own));
        code = hn::Sub(code, hn::Set(d, kLine));
      }
    }
    uint8_t* out = reinterpret_cast<uint8_t*>(to + i);
    auto first = hn::InterleaveLower(d, l, h), second = hn::InterleaveUpper(d, l, h);
    if constexpr (hn::MaxLanes(Bytes()) == 2 * kLine) {  // they interleave within each 16 bytes
      const auto lower = first;
      first = hn::ConcatLowerLower(d, second, lower), second = hn::ConcatUpperUpper(d, second, lower);
    }
    hn::StoreU(first, d, out);
    hn::StoreU(second, d, out + size);
  }
}

void Shuffle(const uint8_t* codes, int64_t count, const uint8_t* const* tables, int64_t lines, int64_t entries,
             uint16_t* to) {
  if (entries <= kLine) {
    ShuffleParts<1>(codes, count, tables, lines, to);
  } else if (entries <= 4 * kLine) {
    ShuffleParts<4>(codes, count, tables, lines, to);
  } else {
    ShuffleParts<16>(codes, count, tables, lines, to);
  }
}
#endif

// Rounds to float16; returns whether nothing was lost.
bool Halves(const float* entries, int64_t count, uint16_t* to) {
  ConvertRun(entries, reinterpret_cast<half*>(to), static_cast<size_t>(count));
  std::vector<float> back(static_cast<size_t>(count));
  ConvertRun(reinterpret_cast<const half*>(to), back.data(), static_cast<size_t>(count));
  return memcmp(entries, back.data(), sizeof(float) * back.size()) == 0;
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {

HWY_EXPORT(Unpacked);
HWY_EXPORT(Scale);
HWY_EXPORT(MultiplyScaled);
HWY_EXPORT(Shuffle);
HWY_EXPORT(ShuffleLines);
HWY_EXPORT(Halves);

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

// A matrix of codes; what they stand for is a subclass's.
class CodedMatrix : public PackedMatrix, public BlockDecoder {
 public:
  explicit CodedMatrix(const CodeSource& source) : bits_(source.bits) {
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

  size_t bytes() const override { return static_cast<size_t>(panels() * panel_bytes_); }

  void Decode(int64_t panel, int64_t k0, int64_t depth, char* to) const override {
    ForRuns(panel, k0, depth, [&](int64_t row, int64_t rows, const uint8_t* codes) {
      DecodeRun(panel, row, rows, codes, to + (row - k0) * width * static_cast<int64_t>(SizeOf(dtype)));
    });
  }

 protected:
  // Calls `each` for runs of a panel's rows, from k0 on: the first row, how many, and their codes.
  template <typename Each>
  void ForRuns(int64_t panel, int64_t k0, int64_t depth, const Each& each) const {
    alignas(64) uint8_t unpacked[kRun * kMostWidth];
    for (int64_t row = k0; row < k0 + depth; row += kRun) {
      const int64_t rows = std::min(kRun, k0 + depth - row), group = row * width / kGroup;
      const uint8_t* from = data.as<uint8_t>() + panel * panel_bytes_ + group * kLine * bits_;
      const int64_t groups = (rows * width + kGroup - 1) / kGroup, bytes = groups * kLine * bits_;
      for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + 4 * bytes + i);
      each(row, rows, HWY_DYNAMIC_DISPATCH(Unpacked)(from, bits_, groups, unpacked));
    }
  }

  // Writes rows of a panel, of which there are at most kRun, from their codes.
  virtual void DecodeRun(int64_t panel, int64_t row, int64_t rows, const uint8_t* codes, char* to) const = 0;

  int bits_;

 private:
  // Returns whether all codes fit.
  bool PackPanel(const CodeSource& source, int64_t panel) {
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

  int64_t panel_bytes_;
};

class AffineMatrix : public CodedMatrix {
 public:
  AffineMatrix(const CodeSource& source, const AffineMeaning& meaning, const std::string& name)
      : CodedMatrix(source), name_(name), block_(meaning.block), zero_(meaning.zero), rounded_(meaning.rounded) {
    Require(block_ > 0 && k % block_ == 0, "blocks divide the rows of a matrix");
    dtype = meaning.half ? DType::kF16 : DType::kF32;
    auto packed = [&](const void* values) {
      return PackMatrix(MatrixSource::Of(meaning.dtype, values, k / block_, n, n, 1));
    };
    scale_ = packed(meaning.scale);
    if (meaning.zero_point != nullptr) zero_point_ = packed(meaning.zero_point);
  }

  size_t bytes() const override {
    return CodedMatrix::bytes() + scale_->bytes() + (zero_point_ == nullptr ? 0 : zero_point_->bytes());
  }
  std::string form() const override {
    return name_ + " weights" + (block_ == k ? "" : ", blocks of " + std::to_string(block_));
  }

 private:
  // Calls `each` for parts of rows that share their scales.
  template <typename Each>
  void ForBlocks(int64_t panel, int64_t row, int64_t rows, const uint8_t* codes, const Each& each) const {
    const int64_t size = width * static_cast<int64_t>(SizeOf(scale_->dtype));
    for (const int64_t end = row + rows; row < end;) {
      const int64_t block = row / block_, count = std::min(end, (block + 1) * block_) - row;
      const char* zeros = zero_point_ == nullptr ? nullptr : zero_point_->panel(panel) + block * size;
      each(row, ScaledBlock{codes, count, scale_->dtype, scale_->panel(panel) + block * size, zeros, zero_});
      row += count, codes += count * width;
    }
  }

  void DecodeRun(int64_t panel, int64_t first, int64_t rows, const uint8_t* codes, char* to) const override {
    ForBlocks(panel, first, rows, codes, [&](int64_t row, const ScaledBlock& b) {
      HWY_DYNAMIC_DISPATCH(Scale)(b, dtype == DType::kF16,
                                  to + (row - first) * width * static_cast<int64_t>(SizeOf(dtype)));
    });
  }

  bool Multiply(int64_t panel, int64_t k0, int64_t depth, const float* a, int64_t lda, int64_t rows, float* c,
                int64_t ldc, bool accumulate) const override {
    if (rounded_ || depth == 0) return false;
    ForRuns(panel, k0, depth, [&](int64_t first, int64_t count, const uint8_t* codes) {
      ForBlocks(panel, first, count, codes, [&](int64_t row, const ScaledBlock& b) {
        HWY_DYNAMIC_DISPATCH(MultiplyScaled)(b, rows, a + (row - k0), lda, c, ldc, accumulate || row > k0);
      });
    });
    return true;
  }

  std::string name_;
  int64_t block_;
  float zero_;
  bool rounded_;
  std::shared_ptr<PackedMatrix> scale_, zero_point_;
};

// Entries one by one, of one table; eight codes are read at once.
template <typename T>
void LookUp(const uint8_t* codes, int64_t count, const T* entries, char* to) {
  T* out = reinterpret_cast<T*>(to);
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    uint64_t eight;
    memcpy(&eight, codes + i, 8);
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) out[i + j] = entries[eight >> (8 * j) & 0xff];
  }
  for (; i < count; ++i) out[i] = entries[codes[i]];
}

// The same of several tables; `first` says for each column of the panel where its table starts.
template <typename T>
void LookUp(const uint8_t* codes, int64_t rows, int64_t width, const T* entries, const int64_t* first, char* to) {
  T* out = reinterpret_cast<T*>(to);
  for (int64_t k = 0; k < rows; ++k, codes += width, out += width) {
    for (int64_t j = 0; j < width; ++j) out[j] = entries[first[j] + codes[j]];
  }
}

class TableMatrix : public CodedMatrix {
 public:
  TableMatrix(const CodeSource& source, const TableMeaning& meaning)
      : CodedMatrix(source), tables_(meaning.tables), entries_(int64_t{1} << source.bits) {
    Require(tables_ > 0 && n % tables_ == 0, "groups of columns, each with its table, have one size");
    const int64_t count = tables_ * entries_;
    halves_.resize(static_cast<size_t>(count));
    if (!HWY_DYNAMIC_DISPATCH(Halves)(meaning.entries, count, halves_.data())) {
      halves_.clear();
      floats_.assign(meaning.entries, meaning.entries + count);
      return;
    }
    dtype = DType::kF16;
    if (tables_ > 1 && n / tables_ % kLine != 0) return;
    if (HWY_DYNAMIC_DISPATCH(ShuffleLines)() < Lines()) return;
    parts_.resize(static_cast<size_t>(tables_ * PartsSize()));
    for (int64_t i = 0; i < count; ++i) {
      const int64_t entry = i % entries_;
      uint8_t* at = &parts_[i / entries_ * PartsSize() + entry / kLine * 2 * kLine + entry % kLine];
      at[0] = static_cast<uint8_t>(halves_[i]);
      at[kLine] = static_cast<uint8_t>(halves_[i] >> 8);
    }
  }

  size_t bytes() const override {
    return CodedMatrix::bytes() + sizeof(uint16_t) * halves_.size() + sizeof(float) * floats_.size() + parts_.size();
  }
  std::string form() const override {
    const std::string which = tables_ == 1 ? "a table" : std::to_string(tables_) + " tables";
    return "weights from " + which + " of " + std::to_string(entries_);
  }

 private:
  int64_t TableOf(int64_t column) const { return std::min(column, n - 1) / (n / tables_); }
  int64_t Lines() const { return std::max<int64_t>(width / kLine, 1); }
  int64_t PartsSize() const { return (entries_ + kLine - 1) / kLine * 2 * kLine; }

  void DecodeRun(int64_t panel, int64_t, int64_t rows, const uint8_t* codes, char* to) const override {
    const int64_t column = panel * width;
    if (!parts_.empty()) {
      const uint8_t* tables[kMostWidth / kLine];
      for (int64_t l = 0; l < Lines(); ++l) tables[l] = &parts_[TableOf(column + l * kLine) * PartsSize()];
      HWY_DYNAMIC_DISPATCH(Shuffle)(codes, rows * width, tables, Lines(), entries_, reinterpret_cast<uint16_t*>(to));
      return;
    }
    if (tables_ == 1) {
      return dtype == DType::kF16 ? LookUp(codes, rows * width, halves_.data(), to)
                                  : LookUp(codes, rows * width, floats_.data(), to);
    }
    int64_t first[kMostWidth];
    for (int64_t j = 0; j < width; ++j) first[j] = TableOf(column + j) * entries_;
    if (dtype == DType::kF16) {
      LookUp(codes, rows, width, halves_.data(), first, to);
    } else {
      LookUp(codes, rows, width, floats_.data(), first, to);
    }
  }

  int64_t tables_, entries_;
  std::vector<uint16_t> halves_;  // of all tables, if that is what they are;
  std::vector<float> floats_;     // else these
  std::vector<uint8_t> parts_;    // the halves again, as shuffles want them
};

}  // namespace

std::shared_ptr<PackedMatrix> CompressAffine(const CodeSource& codes, const AffineMeaning& meaning,
                                             const std::string& name) {
  Require(meaning.dtype == DType::kF16 || meaning.dtype == DType::kF32, "scales are float16 or float32");
  return std::make_shared<AffineMatrix>(codes, meaning, name);
}

std::shared_ptr<PackedMatrix> CompressTable(const CodeSource& codes, const TableMeaning& meaning) {
  return std::make_shared<TableMatrix>(codes, meaning);
}

}  // namespace gristmill
#endif  // HWY_ONCE
