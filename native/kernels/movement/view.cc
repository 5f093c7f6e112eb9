// Tensors read in another order: permuted, sliced, reversed, repeated along dimensions of size 1.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/kernel.h"

namespace gristmill {
namespace {

// A dimension of the walk: how many elements, and how far apart they lie in the operand and in the result.
struct Walk {
  int64_t count, from, to;
};

constexpr int64_t kBlock = 16;  // of a transposition: its rows and columns stay in the first-level cache

template <typename T>
void CopyPlane(const char* from, char* to, const Walk& rows, const Walk& columns, int64_t first, int64_t last) {
  const T* source = reinterpret_cast<const T*>(from);
  T* result = reinterpret_cast<T*>(to);
  for (int64_t c0 = first; c0 < last; c0 += kBlock) {
    const int64_t c1 = std::min(last, c0 + kBlock);
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
    // Enough for each task to be worth sharing; wide planes are shared by columns.
    const int64_t plane = rows_.count * columns_.count;
    const int64_t parts = std::clamp<int64_t>(plane >> 14, 1, (columns_.count + kBlock - 1) / kBlock);
    const int64_t width = ((columns_.count + parts - 1) / parts + kBlock - 1) / kBlock * kBlock;
    const int64_t planes = total_ / plane, together = std::max<int64_t>(1, (int64_t{1} << 14) / plane);
    auto task = [&](int64_t index, int) {
      const int64_t group = index / parts, part = index % parts;
      const int64_t first = part * width, last = std::min(columns_.count, first + width);
      for (int64_t p = group * together; p < std::min(planes, (group + 1) * together); ++p) {
        int64_t rest = p, source = 0, result = 0;
        for (size_t axis = outer_.size(); axis-- > 0; rest /= outer_[axis].count) {
          source += rest % outer_[axis].count * outer_[axis].from;
          result += rest % outer_[axis].count * outer_[axis].to;
        }
        Copy(from + source * size, to + result * size, size, first, last);
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

  void Copy(const char* from, char* to, int64_t size, int64_t first, int64_t last) const {
    if (last <= first) return;
    if (columns_.from == 1 && columns_.to == 1) {
      for (int64_t r = 0; r < rows_.count; ++r) {
        std::memcpy(to + (r * rows_.to + first) * size, from + (r * rows_.from + first) * size,
                    static_cast<size_t>((last - first) * size));
      }
    } else if (size == 4) {
      CopyPlane<uint32_t>(from, to, rows_, columns_, first, last);
    } else if (size == 2) {
      CopyPlane<uint16_t>(from, to, rows_, columns_, first, last);
    } else {
      CopyPlane<uint8_t>(from, to, rows_, columns_, first, last);
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
