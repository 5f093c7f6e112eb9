// Slices of a tensor, read, replaced or combined at indices that are known only while the model runs.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/buffer.h"
#include "kernels/elementwise/tile_program.h"
#include "kernels/movement/indices.h"

namespace gristmill {
namespace {

// What reading and writing share: a tensor [B…, D…, n₁, …, n_K, E…] at index vectors [B…, N…, K], or at indices [B…, N…]
// where K is 1, and slices [B…, D…, N…, E…]. `axis` is the place of n₁, `batch` the number of dimensions B. A negative
// index counts from the end, unless indices are validated; what becomes of one that is out of range is the kernel's
// affair where `forgives`, else an error.
class Indexed : public Kernel {
 public:
  explicit Indexed(const Attributes& attributes)
      : axis_(static_cast<size_t>(attributes.get<int64_t>("axis"))),
        batch_axes_(static_cast<size_t>(attributes.get<int64_t>("batch", 0))),
        depth_(static_cast<size_t>(attributes.get<int64_t>("depth", 1))),
        negative_(attributes.get<int64_t>("negative") != 0),
        forgives_(attributes.get<int64_t>("forgives") != 0) {}

  // `part` are the gathered slices, or those to be written.
  void Measure(const Tensor& whole, const Tensor& indices, const Tensor& part) {
    const Shape& shape = whole.shape;
    Require(batch_axes_ <= axis_ && depth_ >= 1 && axis_ < shape.rank && depth_ <= shape.rank - axis_,
            "slices lie along axes that are there");
    Require(indices.dtype != DType::kF16 && indices.dtype != DType::kF32, "indices are integers");
    Require(whole.dtype == part.dtype, "slices have the type of their tensor");
    batch_ = shape.Product(0, batch_axes_);
    outer_ = shape.Product(batch_axes_, axis_);
    size_ = shape.Product(axis_, axis_ + depth_);
    int64_t stride = size_;
    for (size_t k = 0; k < depth_; ++k) {
      sizes_[k] = shape[axis_ + k];
      stride = sizes_[k] == 0 ? 0 : stride / sizes_[k];
      strides_[k] = stride;
    }
    inner_ = shape.Product(axis_ + depth_, shape.rank);
    width_ = inner_ * static_cast<int64_t>(SizeOf(whole.dtype));
    const int64_t vectors = indices.shape.size() / static_cast<int64_t>(depth_);
    count_ = batch_ == 0 ? 0 : vectors / batch_;
    Require(batch_ * count_ * static_cast<int64_t>(depth_) == indices.shape.size() || batch_ == 0, "indices have their size");
    for (size_t k = 0; k < batch_axes_; ++k) {
      Require(k < indices.shape.rank && indices.shape[k] == shape[k], "indices have the batch of what they are for");
    }
    Require(part.bytes() == batch_ * outer_ * count_ * width_, "slices have their size");
  }

 protected:
  struct Place {
    int64_t at;  // of the slice, counted from the front; each index is held at the nearest element
    bool good;   // whether that was needed
  };

  // Index vector i of a batch.
  Place PlaceOf(const Tensor& indices, int64_t batch, int64_t i) const {
    Place place{0, true};
    for (size_t k = 0; k < depth_; ++k) {
      const int64_t size = sizes_[k];
      int64_t index = IndexAt(indices, (batch * count_ + i) * static_cast<int64_t>(depth_) + static_cast<int64_t>(k));
      if (negative_ && index < 0 && index >= -size) index += size;
      place.good = place.good && index >= 0 && index < size;
      place.at += std::clamp<int64_t>(index, 0, std::max<int64_t>(size - 1, 0)) * strides_[k];
    }
    return place;
  }

  size_t axis_, batch_axes_, depth_;
  bool negative_, forgives_;
  int64_t batch_ = 0, outer_ = 0, size_ = 0, inner_ = 0, width_ = 0, count_ = 0;
  std::array<int64_t, kMaxRank> sizes_{}, strides_{};
};

// Copies a slice; those of one element do not call a library for it.
inline void CopySlice(char* to, const char* from, int64_t width) {
  if (width == 4) {
    std::memcpy(to, from, 4);
  } else if (width == 2) {
    std::memcpy(to, from, 2);
  } else {
    std::memcpy(to, from, static_cast<size_t>(width));
  }
}

// Inputs: x, indices. An index that is out of range is held at the nearest element where the kernel forgives.
class Gather : public Indexed {
 public:
  using Indexed::Indexed;

  size_t Configure(const Operands& operands, const SizeTable&, int) override {
    Measure(operands.in(0), operands.in(1), operands.out(0));
    return 0;
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    const char* from = operands.in(0).as<char>();
    char* to = operands.out(0).as<char>();
    const int64_t total = batch_ * outer_ * count_;
    const int64_t rows = std::max<int64_t>(1, (int64_t{1} << 15) / std::max<int64_t>(width_, 1));
    auto task = [&](int64_t index, int) {
      for (int64_t row = index * rows; row < std::min(total, (index + 1) * rows); ++row) {
        const int64_t outer = row / count_;
        const Place place = PlaceOf(operands.in(1), outer / outer_, row % count_);
        if (!place.good && (!forgives_ || size_ == 0)) return workspace.Fail("an index to gather at is out of range");
        CopySlice(to + row * width_, from + (outer * size_ + place.at) * width_, width_);
      }
    };
    workspace.Parallel((total + rows - 1) / rows, task);
  }

  double operand_bytes(const Operands& operands) const override {
    return static_cast<double>(2 * operands.out(0).bytes() + operands.in(1).bytes());
  }
};

enum class Combination { kUpdate, kAdd, kSub, kMul, kDiv, kMax, kMin };

Combination CombinationByName(const std::string& name) {
  static const std::map<std::string, Combination> names = {
      {"update", Combination::kUpdate}, {"add", Combination::kAdd}, {"sub", Combination::kSub}, {"mul", Combination::kMul},
      {"div", Combination::kDiv},       {"max", Combination::kMax}, {"min", Combination::kMin}};
  const auto found = names.find(name);
  if (found == names.end()) throw Error("nothing is scattered by '" + name + "'");
  return found->second;
}

double Combine(Combination how, double a, double b) {
  switch (how) {
    case Combination::kAdd:
      return a + b;
    case Combination::kSub:
      return a - b;
    case Combination::kMul:
      return a * b;
    case Combination::kDiv:
      return a / b;
    case Combination::kMax:
      return std::isnan(a) || a > b ? a : b;
    case Combination::kMin:
      return std::isnan(a) || a < b ? a : b;
    default:
      return b;
  }
}

// Modulo 2³²; a quotient is truncated towards zero, and 0 for a division by 0.
int32_t Combine(Combination how, int32_t a, int32_t b) {
  const int64_t x = a, y = b;
  switch (how) {
    case Combination::kAdd:
      return static_cast<int32_t>(x + y);
    case Combination::kSub:
      return static_cast<int32_t>(x - y);
    case Combination::kMul:
      return static_cast<int32_t>(x * y);
    case Combination::kDiv:
      return y == 0 ? 0 : static_cast<int32_t>(x / y);
    case Combination::kMax:
      return std::max(a, b);
    case Combination::kMin:
      return std::min(a, b);
    default:
      return b;
  }
}

// Inputs: data, indices, updates. Slices of the data are replaced, by the last update where an index comes twice, or
// combined with every update in turn: floats in float64, so that a sum is rounded once. An index that is out of range is
// passed over where the kernel forgives. With two more results the first is the data itself and only those slices are
// touched; the two keep what was there before and where (int32, -1 for nowhere).
class Scatter : public Indexed {
 public:
  explicit Scatter(const Attributes& attributes)
      : Indexed(attributes), how_(CombinationByName(attributes.get<std::string>("mode"))) {}

  size_t Configure(const Operands& operands, const SizeTable&, int threads) override {
    const Tensor &data = operands.in(0), &out = operands.out(0);
    Require(data.shape == out.shape && data.dtype == out.dtype, "scattering keeps shape and type");
    Measure(data, operands.in(1), operands.in(2));
    in_place_ = operands.outputs.size() > 1;
    if (in_place_) {
      Require(how_ == Combination::kUpdate && batch_ == 1 && operands.outputs.size() == 3 &&
                  operands.out(1).bytes() == operands.in(2).bytes() && operands.out(2).dtype == DType::kI32 &&
                  operands.out(2).shape.size() == count_,
              "what was there before is kept");
      Require(size_ <= std::numeric_limits<int32_t>::max(), "places are 32-bit integers");
    }
    if (how_ == Combination::kUpdate) return 0;
    is_float_ = data.dtype == DType::kF16 || data.dtype == DType::kF32;
    Require(is_float_ || data.dtype == DType::kI32, "combining by scattering is for floats and 32-bit integers");
    per_thread_ = is_float_ ? Room(static_cast<size_t>(size_ * inner_) * sizeof(double)) : 0;
    return per_thread_ * static_cast<size_t>(std::min<int64_t>(threads, batch_ * outer_));
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    if (in_place_) return ReplaceInPlace(operands, workspace);
    const char* from = operands.in(0).as<char>();
    char* to = operands.out(0).as<char>();
    const int64_t slice = size_ * width_, tasks = batch_ * outer_;
    workspace.Parallel(tasks, [&](int64_t outer, int thread) {
      std::memcpy(to + outer * slice, from + outer * slice, static_cast<size_t>(slice));
      bool all = true;
      if (how_ == Combination::kUpdate) {
        all = Each(operands, outer, [&](int64_t place, const char* update) {
          CopySlice(to + outer * slice + place * width_, update, width_);
        });
      } else if (is_float_) {
        // Of few tasks each has its own room, else each thread.
        const size_t room = static_cast<size_t>(tasks < workspace.threads ? outer : thread);
        double* sums = reinterpret_cast<double*>(workspace.scratch + per_thread_ * room);
        all = Floats(operands, outer, sums, to + outer * slice);
      } else {
        all = Each(operands, outer, [&](int64_t place, const char* update) {
          int32_t* into = reinterpret_cast<int32_t*>(to + outer * slice) + place * inner_;
          const int32_t* values = reinterpret_cast<const int32_t*>(update);
          for (int64_t e = 0; e < inner_; ++e) into[e] = Combine(how_, into[e], values[e]);
        });
      }
      if (!all) workspace.Fail("an index to write at is out of range");
    });
  }

  // The last first: where an index came twice, the first has what the data held.
  void Undo(const Operands& operands) override {
    if (!in_place_) return;
    const char* before = operands.out(1).as<char>();
    const int32_t* places = operands.out(2).as<int32_t>();
    for (int64_t outer = 0; outer < outer_; ++outer) {
      for (int64_t i = count_; i-- > 0;) {
        if (places[i] < 0) continue;
        std::memcpy(operands.out(0).as<char>() + (outer * size_ + places[i]) * width_,
                    before + (outer * count_ + i) * width_, static_cast<size_t>(width_));
      }
    }
  }

  double operand_bytes(const Operands& operands) const override {
    const double updates = 2.0 * static_cast<double>(operands.in(2).bytes());
    return in_place_ ? 2 * updates : updates + 2.0 * static_cast<double>(operands.in(0).bytes());
  }
  std::string variant() const override { return in_place_ ? "in place" : ""; }

 private:
  void ReplaceInPlace(const Operands& operands, const Workspace& workspace) const {
    int32_t* places = operands.out(2).as<int32_t>();
    for (int64_t i = 0; i < count_; ++i) {  // before anything is written
      const Place place = PlaceOf(operands.in(1), 0, i);
      if (!place.good && !forgives_) return workspace.Fail("an index to write at is out of range");
      places[i] = place.good ? static_cast<int32_t>(place.at) : -1;
    }
    char *to = operands.out(0).as<char>(), *before = operands.out(1).as<char>();
    const char* updates = operands.in(2).as<char>();
    const int64_t touched = std::max<int64_t>(1, count_ * width_);
    const int64_t together = std::max<int64_t>(1, (int64_t{1} << 15) / touched);  // enough to be worth sharing
    workspace.Parallel((outer_ + together - 1) / together, [&](int64_t task, int) {
      for (int64_t outer = task * together; outer < std::min(outer_, (task + 1) * together); ++outer) {
        for (int64_t i = 0; i < count_; ++i) {
          if (places[i] < 0) continue;
          const int64_t at = (outer * count_ + i) * width_;
          char* row = to + (outer * size_ + places[i]) * width_;
          std::memcpy(before + at, row, static_cast<size_t>(width_));
          std::memcpy(row, updates + at, static_cast<size_t>(width_));
        }
      }
    });
  }

  // Calls put(place, update) for every good index in turn; false where one is not and that is an error.
  template <typename Put>
  bool Each(const Operands& operands, int64_t outer, const Put& put) const {
    const char* updates = operands.in(2).as<char>() + outer * count_ * width_;
    for (int64_t i = 0; i < count_; ++i) {
      const Place place = PlaceOf(operands.in(1), outer / outer_, i);
      if (place.good) {
        put(place.at, updates + i * width_);
      } else if (!forgives_) {
        return false;
      }
    }
    return true;
  }

  bool Floats(const Operands& operands, int64_t outer, double* sums, char* to) const {
    const DType dtype = operands.out(0).dtype;
    const int64_t total = size_ * inner_, size = static_cast<int64_t>(SizeOf(dtype));
    float tile[kTile + 16];
    // Calls each(first, count) for runs of elements that fit a tile.
    auto runs = [](int64_t count, const auto& each) {
      for (int64_t i = 0; i < count; i += static_cast<int64_t>(kTile)) each(i, std::min<int64_t>(kTile, count - i));
    };
    runs(total, [&](int64_t first, int64_t count) {
      LoadTile(dtype, to + first * size, 1, tile, static_cast<size_t>(count));
      std::copy(tile, tile + count, sums + first);
    });
    const bool all = Each(operands, outer, [&](int64_t place, const char* update) {
      runs(inner_, [&](int64_t first, int64_t count) {
        LoadTile(dtype, update + first * size, 1, tile, static_cast<size_t>(count));
        double* into = sums + place * inner_ + first;
        for (int64_t e = 0; e < count; ++e) into[e] = Combine(how_, into[e], static_cast<double>(tile[e]));
      });
    });
    runs(total, [&](int64_t first, int64_t count) {
      for (int64_t e = 0; e < count; ++e) tile[e] = static_cast<float>(sums[first + e]);
      StoreTile(dtype, tile, to + first * size, static_cast<size_t>(count));
    });
    return all;
  }

  Combination how_;
  bool is_float_ = false, in_place_ = false;
  size_t per_thread_ = 0;  // bytes of the sums
};

const RegisterKernel scatter("scatter", [](const Attributes& a) { return std::make_unique<Scatter>(a); });
const RegisterKernel gather("gather", [](const Attributes& a) { return std::make_unique<Gather>(a); });

}  // namespace
}  // namespace gristmill
