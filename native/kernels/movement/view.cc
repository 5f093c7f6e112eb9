// Tensors read in another order: permuted, sliced, reversed, repeated along dimensions of size 1.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/kernel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/movement/view.cc"
#include "simd/foreach_target.h"
#include "simd/simd.h"
#include "simd/transpose.h"

GRISTMILL_SIMD_BEGIN

// to[r·to_pitch + c] = from[c·from_pitch + r], a line of the result's memory at a time.
template <typename T>
void TransposeRun(const T* from, int64_t from_pitch, T* to, int64_t to_pitch, int64_t rows, int64_t columns) {
  constexpr int64_t kSide = 16 / sizeof(T), kLine = 64 / sizeof(T);
  for (int64_t c0 = 0; c0 < columns; c0 += kLine) {
    const int64_t c1 = std::min(columns, c0 + kLine), squares = c0 + (c1 - c0) / kSide * kSide;
    int64_t r = 0;
    for (; r + kSide <= rows; r += kSide) {
      int64_t c = c0;
      for (; c < squares; c += kSide) TransposeSquare(from + c * from_pitch + r, from_pitch, to + r * to_pitch + c, to_pitch);
      for (; c < c1; ++c) {
        for (int64_t i = r; i < r + kSide; ++i) to[i * to_pitch + c] = from[c * from_pitch + i];
      }
    }
    for (; r < rows; ++r) {
      for (int64_t c = c0; c < c1; ++c) to[r * to_pitch + c] = from[c * from_pitch + r];
    }
  }
}

void Transpose16(const uint16_t* from, int64_t from_pitch, uint16_t* to, int64_t to_pitch, int64_t rows, int64_t columns) {
  TransposeRun(from, from_pitch, to, to_pitch, rows, columns);
}
void Transpose32(const uint32_t* from, int64_t from_pitch, uint32_t* to, int64_t to_pitch, int64_t rows, int64_t columns) {
  TransposeRun(from, from_pitch, to, to_pitch, rows, columns);
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {

HWY_EXPORT(Transpose16);
HWY_EXPORT(Transpose32);

namespace {

// A dimension of the walk: how many elements, and how far apart they lie in the operand and in the result.
struct Walk {
  int64_t count, from, to;
};

struct Range {
  int64_t first, last;
};

constexpr int64_t kBlock = 32;  // columns of a transposition: a line of memory of two-byte elements

template <typename T>
void CopyPlane(const char* from, char* to, const Walk& rows, const Walk& columns, const Range& part) {
  const T* source = reinterpret_cast<const T*>(from);
  T* result = reinterpret_cast<T*>(to);
  for (int64_t c0 = part.first; c0 < part.last; c0 += kBlock) {
    const int64_t c1 = std::min(part.last, c0 + kBlock);
    for (int64_t r = 0; r < rows.count; ++r) {
      for (int64_t c = c0; c < c1; ++c) {
        result[r * rows.to + c * columns.to] = source[r * rows.from + c * columns.from];
      }
    }
  }
}

// out[i…] = in[begin + step·i[…]]: axis k of the result walks axis perm[k] of the operand. An axis of size 1 is repeated
// as often as the result wants.
class View : public Kernel {
 public:
  explicit View(const Attributes& attributes)
      : perm_(attributes.get<std::vector<int64_t>>("perm")),
        begin_(attributes.get("begin", std::vector<SizeRef>{})),
        step_(attributes.get("step", std::vector<int64_t>{})) {}

  size_t Configure(const Operands& operands, const SizeTable& sizes, int) override {
    const Shape &from = operands.in(0).shape, &to = operands.out(0).shape;
    Require(perm_.size() == from.rank && from.rank == to.rank, "a view names every dimension");
    Require(operands.in(0).dtype == operands.out(0).dtype, "a view changes no type");
    Require(begin_.empty() || begin_.size() == from.rank, "a slice begins somewhere on every axis");
    Require(step_.empty() || step_.size() == from.rank, "a slice has a step on every axis");
    std::array<int64_t, kMaxRank> strides{};
    int64_t stride = 1;
    for (size_t axis = from.rank; axis-- > 0; stride *= from[axis]) strides[axis] = stride;
    offset_ = 0;
    uint64_t seen = 0;
    std::vector<Walk> walks;
    int64_t to_stride = to.size();
    total_ = to_stride;
    if (total_ == 0) return 0;
    for (size_t k = 0; k < to.rank; ++k) {
      Require(perm_[k] >= 0 && perm_[k] < static_cast<int64_t>(from.rank), "a permutation names a dimension");
      const size_t axis = static_cast<size_t>(perm_[k]);
      Require((seen >> axis & 1) == 0, "a permutation names each dimension once");
      seen |= uint64_t{1} << axis;
      to_stride /= to[k];
      const int64_t begin = begin_.empty() ? 0 : sizes[begin_[axis].entry], step = step_.empty() ? 1 : step_[axis];
      const bool repeated = from[axis] == 1 && to[k] != 1;
      const int64_t last = repeated ? begin : begin + step * (to[k] - 1);
      Require(begin >= 0 && begin < from[axis] && last >= 0 && last < from[axis], "a slice lies within its tensor");
      offset_ += begin * strides[axis];
      if (to[k] != 1) walks.push_back({to[k], repeated ? 0 : step * strides[axis], to_stride});
    }
    Join(walks);
    return 0;
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    if (total_ == 0) return;
    const int64_t size = static_cast<int64_t>(SizeOf(operands.out(0).dtype));
    const char* from = operands.in(0).as<char>() + offset_ * size;
    char* to = operands.out(0).as<char>();
    // Enough for each task to be worth sharing; large planes are shared by rows where these are copied as they are, else
    // by columns.
    const bool by_rows = contiguous() && rows_.count > 1;
    const int64_t plane = rows_.count * columns_.count, along = by_rows ? rows_.count : columns_.count;
    const int64_t block = by_rows ? 1 : kBlock;
    const int64_t parts = std::clamp<int64_t>(plane >> 14, 1, (along + block - 1) / block);
    const int64_t width = ((along + parts - 1) / parts + block - 1) / block * block;
    const int64_t planes = total_ / plane, together = std::max<int64_t>(1, (int64_t{1} << 14) / plane);
    auto task = [&](int64_t index, int) {
      const int64_t group = index / parts, part = index % parts;
      const int64_t first = part * width, last = std::min(along, first + width);
      if (last <= first) return;
      const Range rows = by_rows ? Range{first, last} : Range{0, rows_.count};
      const Range columns = by_rows ? Range{0, columns_.count} : Range{first, last};
      for (int64_t p = group * together; p < std::min(planes, (group + 1) * together); ++p) {
        int64_t rest = p, source = 0, result = 0;
        for (size_t axis = outer_.size(); axis-- > 0; rest /= outer_[axis].count) {
          source += rest % outer_[axis].count * outer_[axis].from;
          result += rest % outer_[axis].count * outer_[axis].to;
        }
        Copy(from + source * size, to + result * size, size, rows, columns);
      }
    };
    workspace.Parallel((planes + together - 1) / together * parts, task);
  }

  double operand_bytes(const Operands& operands) const override {
    return static_cast<double>(2 * operands.out(0).bytes());
  }

 private:
  // Dimensions that lie one behind the other on both sides become one. The innermost of the result are the columns; the
  // rows are the dimension that lies closest in the operand, so that a transposition reads and writes blocks.
  void Join(std::vector<Walk> walks) {
    std::vector<Walk> joined;
    for (const Walk& walk : walks) {
      if (!joined.empty() && joined.back().from == walk.from * walk.count && joined.back().to == walk.to * walk.count) {
        joined.back() = {joined.back().count * walk.count, walk.from, walk.to};
      } else {
        joined.push_back(walk);
      }
    }
    columns_ = rows_ = {1, 1, 1};
    if (!joined.empty()) columns_ = joined.back(), joined.pop_back();
    auto nearest = std::min_element(joined.begin(), joined.end(), [](const Walk& a, const Walk& b) {
      return std::abs(a.from) < std::abs(b.from);
    });
    if (nearest != joined.end()) {
      if (columns_.from == 1) nearest = joined.end() - 1;
      rows_ = *nearest;
      joined.erase(nearest);
    }
    outer_ = std::move(joined);
  }

  bool contiguous() const { return columns_.from == 1 && columns_.to == 1; }

  void Copy(const char* from, char* to, int64_t size, const Range& rows, const Range& columns) const {
    if (contiguous()) {
      for (int64_t r = rows.first; r < rows.last; ++r) {
        std::memcpy(to + (r * rows_.to + columns.first) * size, from + (r * rows_.from + columns.first) * size,
                    static_cast<size_t>((columns.last - columns.first) * size));
      }
    } else if (rows_.from == 1 && columns_.to == 1 && size == 2) {
      const auto* source = reinterpret_cast<const uint16_t*>(from) + columns.first * columns_.from;
      HWY_DYNAMIC_DISPATCH(Transpose16)(source, columns_.from, reinterpret_cast<uint16_t*>(to) + columns.first, rows_.to,
                                        rows.last, columns.last - columns.first);
    } else if (rows_.from == 1 && columns_.to == 1 && size == 4) {
      const auto* source = reinterpret_cast<const uint32_t*>(from) + columns.first * columns_.from;
      HWY_DYNAMIC_DISPATCH(Transpose32)(source, columns_.from, reinterpret_cast<uint32_t*>(to) + columns.first, rows_.to,
                                        rows.last, columns.last - columns.first);
    } else if (size == 4) {
      CopyPlane<uint32_t>(from, to, rows_, columns_, columns);
    } else if (size == 2) {
      CopyPlane<uint16_t>(from, to, rows_, columns_, columns);
    } else {
      CopyPlane<uint8_t>(from, to, rows_, columns_, columns);
    }
  }

  std::vector<int64_t> perm_;
  std::vector<SizeRef> begin_;
  std::vector<int64_t> step_;
  std::vector<Walk> outer_;
  Walk rows_{1, 1, 1}, columns_{1, 1, 1};
  int64_t offset_ = 0, total_ = 0;
};

const RegisterKernel view("view", [](const Attributes& a) { return std::make_unique<View>(a); });

}  // namespace
}  // namespace gristmill
#endif  // HWY_ONCE
