// The first elements of rows in order, and where they were.
#include <algorithm>
#include <cstring>

#include "core/buffer.h"
#include "kernels/elementwise/tile_program.h"

namespace gristmill {
namespace {

// An integer in the order of float32 values: 0 and -0 are equal, and a NaN is less than all numbers, or greater.
int32_t KeyOfFloat(float x, bool nan_is_least) {
  if (x != x) return nan_is_least ? INT32_MIN : INT32_MAX;
  if (x == 0) return 0;
  int32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits ^ ((bits >> 31) & INT32_MAX);  // of negative ones the magnitude counts downwards
}

// Input: x, whose last dimension holds the rows. Outputs: the first elements of each row in order, and their places;
// either may be left out. Equal elements keep their order. With `nan_first` a NaN comes before all numbers, else
// behind them.
class Sort : public Kernel {
 public:
  explicit Sort(const Attributes& attributes)
      : ascending_(attributes.get<int64_t>("ascending") != 0), nan_first_(attributes.get<int64_t>("nan_first") != 0) {}

  size_t Configure(const Operands& operands, const SizeTable&, int threads) override {
    const Tensor& x = operands.in(0);
    Require(x.shape.rank >= 1 && operands.outputs.size() == 2, "rows are sorted into values and places");
    n_ = x.shape[x.shape.rank - 1];
    rows_ = x.shape.Product(0, x.shape.rank - 1);
    Require(n_ < (int64_t{1} << 31), "a row has fewer than 2³¹ elements");
    first_ = -1;
    for (const Tensor& out : operands.outputs) {
      if (!out.given) continue;
      Require(out.shape.rank == x.shape.rank && out.shape.Product(0, out.shape.rank - 1) == rows_, "rows stay rows");
      const int64_t wanted = out.shape[out.shape.rank - 1];
      Require(wanted <= n_ && (first_ < 0 || first_ == wanted), "a row has as many elements as are wanted");
      first_ = wanted;
    }
    Require(!operands.outputs[0].given || operands.outputs[0].dtype == x.dtype, "sorting changes no type");
    const DType places = operands.outputs[1].dtype;
    Require(!operands.outputs[1].given || places == DType::kI32 || places == DType::kU16, "places are integers");
    per_thread_ = Room(static_cast<size_t>(n_) * sizeof(int64_t));
    return per_thread_ * static_cast<size_t>(threads);
  }

  void Run(const Operands& operands, const Workspace& workspace) override {
    if (first_ <= 0) return;
    const int64_t together = std::max<int64_t>(1, 4096 / std::max<int64_t>(n_, 1));
    workspace.Parallel((rows_ + together - 1) / together, [&](int64_t index, int thread) {
      int64_t* keys = reinterpret_cast<int64_t*>(workspace.scratch + per_thread_ * static_cast<size_t>(thread));
      for (int64_t row = index * together; row < std::min(rows_, (index + 1) * together); ++row) {
        Keys(operands.in(0), row, keys);
        Order(keys);
        Store(operands, row, keys);
      }
    });
  }

 private:
  // An element's place in the lower half and its key in the upper: all are different, and equal elements stay in order.
  void Keys(const Tensor& x, int64_t row, int64_t* keys) const {
    const bool is_float = x.dtype == DType::kF16 || x.dtype == DType::kF32;
    const int64_t size = static_cast<int64_t>(SizeOf(x.dtype));
    float tile[kTile + 16];
    for (int64_t start = 0; start < n_; start += static_cast<int64_t>(kTile)) {
      const int64_t count = std::min<int64_t>(kTile, n_ - start);
      LoadTile(x.dtype, x.as<char>() + (row * n_ + start) * size, 1, tile, static_cast<size_t>(count));
      for (int64_t i = 0; i < count; ++i) {
        int32_t key;
        std::memcpy(&key, tile + i, 4);
        if (is_float) key = KeyOfFloat(tile[i], nan_first_ == ascending_);
        if (!ascending_) key = ~key;
        keys[start + i] = static_cast<int64_t>(static_cast<uint64_t>(static_cast<uint32_t>(key)) << 32 |
                                               static_cast<uint64_t>(start + i));
      }
    }
  }

  void Order(int64_t* keys) const {
    if (first_ == 1) {
      std::swap(keys[0], *std::min_element(keys, keys + n_));
    } else if (first_ < n_) {
      std::partial_sort(keys, keys + first_, keys + n_);
    } else {
      std::sort(keys, keys + n_);
    }
  }

  void Store(const Operands& operands, int64_t row, const int64_t* keys) const {
    const Tensor &x = operands.in(0), &values = operands.outputs[0], &places = operands.outputs[1];
    const size_t size = SizeOf(x.dtype);
    for (int64_t i = 0; i < first_; ++i) {
      const int64_t place = keys[i] & 0xffffffff, at = row * first_ + i;
      if (values.given) std::memcpy(values.as<char>() + at * size, x.as<char>() + (row * n_ + place) * size, size);
      if (!places.given) continue;
      if (places.dtype == DType::kI32) {
        places.as<int32_t>()[at] = static_cast<int32_t>(place);
      } else {
        places.as<uint16_t>()[at] = static_cast<uint16_t>(place);
      }
    }
  }

  bool ascending_, nan_first_;
  int64_t n_ = 0, rows_ = 0, first_ = 0;
  size_t per_thread_ = 0;
};

const RegisterKernel sort("sort", [](const Attributes& a) { return std::make_unique<Sort>(a); });

}  // namespace
}  // namespace gristmill
