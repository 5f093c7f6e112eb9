#include "kernels/gemm/decode.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/gemm/codes.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/table.cc"
#include "simd/foreach_target.h"
#include "simd/few.h"
#include "simd/simd.h"

GRISTMILL_SIMD_BEGIN

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

// C[rows, width] (+)= A[rows, depth]·entries of a table of 16, for codes of four bits as they lie; `table` is as for Shuffle.
// Returns whether it was done.
bool MultiplyTable(const uint8_t* codes, const uint8_t* table, const float* a, int64_t lda, int64_t rows, int64_t depth,
                   float* c, int64_t ldc, bool accumulate) {
#if HWY_TARGET == HWY_AVX2
  MultiplyFewMade(a, lda, rows, depth, c, ldc, accumulate, [=]() HWY_ATTR {
    const Line d;
    const auto low = hn::LoadU(d, table), high = hn::LoadU(d, table + kLine), field = hn::Set(d, 15);
    return [=, at = codes, odd = false](VF(&b)[2]) mutable HWY_ATTR {  // a line is two rows
      const auto line = hn::LoadU(d, at);
      const auto code = hn::And(odd ? hn::ShiftRight<4>(line) : line, field);
      __builtin_prefetch(at + 1024);
      at += odd ? kLine : 0, odd = !odd;
      const auto l = hn::TableLookupBytes(low, code), h = hn::TableLookupBytes(high, code);
      b[0] = Widen(hn::InterleaveLower(d, l, h)), b[1] = Widen(hn::InterleaveUpper(d, l, h));
    };
  });
  return true;
#else
  (void)codes, (void)table, (void)a, (void)lda, (void)rows, (void)depth, (void)c, (void)ldc, (void)accumulate;
  return false;
#endif
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {

HWY_EXPORT(MultiplyTable);
HWY_EXPORT(Shuffle);
HWY_EXPORT(ShuffleLines);
HWY_EXPORT(Halves);

namespace {

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

  void Decode(int64_t panel, int64_t k0, int64_t depth, char* to) const override {
    alignas(64) uint8_t unpacked[kRun * kMostWidth];
    for (int64_t row = k0; row < k0 + depth; row += kRun, to += kRun * width * static_cast<int64_t>(SizeOf(dtype))) {
      const int64_t rows = std::min(kRun, k0 + depth - row), groups = (rows * width + kGroup - 1) / kGroup;
      const int64_t bytes = groups * kLine * bits_;
      const uint8_t* from = CodesAt(panel, row);
      for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + 4 * bytes + i);
      LookUpRows(panel, rows, UnpackedCodes(from, bits_, groups, unpacked), to);
    }
  }

  bool Multiply(int64_t panel, int64_t k0, int64_t depth, const float* a, int64_t lda, int64_t rows, float* c,
                int64_t ldc, bool accumulate) const override {
    if (bits_ != 4 || parts_.empty()) return false;
    const uint8_t* table = &parts_[TableOf(panel * width) * PartsSize()];
    return HWY_DYNAMIC_DISPATCH(MultiplyTable)(CodesAt(panel, k0), table, a, lda, rows, depth, c, ldc, accumulate);
  }

  void LookUpRows(int64_t panel, int64_t rows, const uint8_t* codes, char* to) const {
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

std::shared_ptr<PackedMatrix> CompressTable(const CodeSource& codes, const TableMeaning& meaning) {
  return std::make_shared<TableMatrix>(codes, meaning);
}

}  // namespace gristmill
#endif  // HWY_ONCE
