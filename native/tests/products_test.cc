// Matrix products against a double loop in double precision: packed weights, two activations, epilogues.
#include "kernels/gemm/pack.h"
#include "support.h"

namespace gristmill::test {
namespace {

constexpr DType kTypes[] = {DType::kF16, DType::kF32};

struct Sum {
  double exact = 0, size = 0;
};

// Σₖ x[i, k]·w[k, j], and the magnitudes summed.
Sum Product(const Array& x, const Array& w, int64_t i, int64_t j, int64_t k, int64_t n) {
  Sum sum;
  for (int64_t t = 0; t < k; ++t) {
    const double term = x[i * k + t] * w[t * n + j];
    sum.exact += term;
    sum.size += std::fabs(term);
  }
  return sum;
}

Call Linear(const Array& weight) {
  const int64_t k = weight.shape[0], n = weight.shape[1];
  return {"linear", {{"weight", std::shared_ptr<Prepared>(PackMatrix(MatrixSource::Of(weight.dtype, weight.bytes.data(), k, n, n, 1)))}}, {}};
}

}  // namespace

TEST_CASE("linear keeps the contract's bound at every size") {
  // Rows: none, one, a few, and remainders of every micro-kernel; columns around one and two panels of each instruction
  // set; K around blocks of 256.
  struct Size {
    int64_t m, k, n;
  };
  std::vector<Size> sizes;
  for (int64_t m : {1, 2, 3, 5, 6, 7, 13, 14, 15, 29, 97, 200}) sizes.push_back({m, 67, 50});
  for (int64_t k : {0, 1, 2, 255, 256, 257, 513, 1100}) sizes.push_back({1, k, 19}), sizes.push_back({9, k, 19});
  for (int64_t n : {1, 7, 8, 15, 16, 17, 31, 32, 33, 100, 530}) sizes.push_back({1, 40, n}), sizes.push_back({11, 40, n});
  sizes.push_back({0, 5, 5}), sizes.push_back({3, 5, 0}), sizes.push_back({0, 0, 0}), sizes.push_back({3, 0, 0});
  for (DType type : kTypes) {
    for (DType packed : kTypes) {
      for (const Size& s : sizes) {
        const Array x = Random(type, {s.m, s.k}), w = Random(packed, {s.k, s.n});
        const Array got = Run1(Linear(w), {x}, type, {s.m, s.n});
        for (int64_t i = 0; i < s.m; ++i) {
          for (int64_t j = 0; j < s.n; ++j) {
            const Sum sum = Product(x, w, i, j, s.k, s.n);
            const double error = std::fabs(got[i * s.n + j] - sum.exact);
            REQUIRE_MESSAGE(error <= SumBound(s.k, sum.size, type, sum.exact), s.m << "x" << s.k << "x" << s.n);
          }
        }
      }
    }
  }
}

TEST_CASE("a row's bits do not depend on the rows beside it, nor on which micro-kernel makes it") {
  // Few rows read several panels at once, and six leave two over. The last one's second half holds no columns.
  const int64_t m = 40, k = 600, n = 5 * PanelWidth() + 3;
  for (DType packed : kTypes) {
    const Array x = Random(DType::kF32, {m, k}), w = Random(packed, {k, n});
    const Array whole = Run1(Linear(w), {x}, DType::kF32, {m, n});
    for (int64_t rows = 1; rows <= 16; ++rows) {
      Array part(DType::kF32, {rows, k});
      for (int64_t i = 0; i < rows * k; ++i) part.Set(i, x[i]);
      const Array got = Run1(Linear(w), {part}, DType::kF32, {rows, n});
      for (int64_t i = 0; i < rows * n; ++i) REQUIRE(got[i] == whole[i]);
    }
  }
}

TEST_CASE("a matrix may be packed from any strides") {
  const int64_t m = 4, k = 37, n = 21;
  const Array x = Random(DType::kF32, {m, k});
  for (DType type : kTypes) {
    const Array w = Random(type, {n, k});  // stored transposed
    const std::shared_ptr<Prepared> packed = PackMatrix(MatrixSource::Of(type, w.bytes.data(), k, n, 1, k));
    const Array got = Run1({"linear", {{"weight", packed}}, {}}, {x}, DType::kF32, {m, n});
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        double exact = 0, size = 0;
        for (int64_t t = 0; t < k; ++t) exact += x[i * k + t] * w[j * k + t], size += std::fabs(x[i * k + t] * w[j * k + t]);
        REQUIRE(std::fabs(got[i * n + j] - exact) <= SumBound(k, size, DType::kF32, exact));
      }
    }
  }
}

TEST_CASE("epilogues see every element once, with rows, columns and scalars") {
  // relu(x·w + column)·scalar + full, in two results: the second before the last step.
  for (DType type : kTypes) {
    for (int64_t m : {1, 5, 40}) {
      for (int64_t n : {1, 20, 600}) {
        const int64_t k = 10;
        const Array x = Random(type, {m, k}), w = Random(type, {k, n}), column = Random(type, {n});
        const Array scalar = Of(type, {}, {0.5}), full = Random(type, {m, n});
        Call call = Linear(w);
        call.attributes["program"] = Program(4, 6,
                                             {{TileOp::kAdd, 4, 0, 1}, {TileOp::kRelu, 4, 4}, {TileOp::kMul, 4, 4, 2},
                                              {TileOp::kAdd, 5, 4, 3}},
                                             {5, 4});
        call.attributes["layout"] = std::string("column scalar full");
        const auto got = Run(call, {x, column, scalar, full}, {Array(type, {m, n}), Array(type, {m, n})}, 3);
        for (int64_t i = 0; i < m; ++i) {
          for (int64_t j = 0; j < n; ++j) {
            const Sum sum = Product(x, w, i, j, k, n);
            const double before = std::max(0.0, sum.exact + column[j]) * scalar[0], after = before + full[i * n + j];
            const double size = sum.size + std::fabs(column[j]) + std::fabs(full[i * n + j]);
            REQUIRE(std::fabs(got[0][i * n + j] - after) <= SumBound(k + 2, size, type, after));
            REQUIRE(std::fabs(got[1][i * n + j] - before) <= SumBound(k + 1, size, type, before));
          }
        }
      }
    }
  }
}

TEST_CASE("an infinity or a NaN stays in its row and column") {
  const int64_t m = 9, k = 30, n = 23;
  Array x = Random(DType::kF32, {m, k}), w = Random(DType::kF16, {k, n});
  x.Set(2 * k + 5, HUGE_VAL), x.Set(4 * k + 1, std::nan(""));
  w.Set(7 * n + 22, HUGE_VAL);
  const Array got = Run1(Linear(w), {x}, DType::kF32, {m, n});
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const double exact = Product(x, w, i, j, k, n).exact, value = got[i * n + j];
      CHECK(std::isnan(value) == std::isnan(exact));
      CHECK(std::isinf(value) == std::isinf(exact));
    }
  }
}

TEST_CASE("products of two activations, transposed and broadcast") {
  struct Size {
    Sizes x, y, out;  // leading dimensions
    int64_t m, k, n;
  };
  for (const Size& s : std::initializer_list<Size>{{{}, {}, {}, 1, 1, 1},
                                                   {{3}, {}, {3}, 7, 33, 20},
                                                   {{2, 1}, {3}, {2, 3}, 5, 257, 17},
                                                   {{1}, {4}, {4}, 70, 8, 40},
                                                   {{}, {}, {}, 200, 300, 3},
                                                   {{2}, {2}, {2}, 3, 0, 4},
                                                   {{2}, {2}, {2}, 0, 3, 4},
                                                   {{2}, {2}, {2}, 3, 3, 0},
                                                   {{0}, {1}, {0}, 3, 3, 3}}) {
    for (DType type : kTypes) {
      for (int flags = 0; flags < 4; ++flags) {
        const bool across = flags & 1, down = flags & 2;
        auto shape = [](Sizes leading, int64_t a, int64_t b) {
          leading.push_back(a), leading.push_back(b);
          return leading;
        };
        const Array x = Random(type, across ? shape(s.x, s.k, s.m) : shape(s.x, s.m, s.k));
        const Array y = Random(type, down ? shape(s.y, s.n, s.k) : shape(s.y, s.k, s.n));
        const Call call{"matmul", {{"transpose_x", int64_t{across}}, {"transpose_y", int64_t{down}}}, {}};
        const Array got = Run1(call, {x, y}, type, shape(s.out, s.m, s.n));
        auto place = [&](const Sizes& leading, int64_t product) {
          int64_t at = 0, stride = 1;
          for (size_t axis = s.out.size(), own = leading.size(); axis-- > 0 && own-- > 0; product /= s.out[axis]) {
            if (leading[own] != 1) at += product % s.out[axis] * stride;
            stride *= leading[own];
          }
          return at;
        };
        for (int64_t p = 0; p < Count(s.out); ++p) {
          const int64_t xs = place(s.x, p) * s.m * s.k, ys = place(s.y, p) * s.k * s.n;
          for (int64_t i = 0; i < s.m; ++i) {
            for (int64_t j = 0; j < s.n; ++j) {
              double exact = 0, size = 0;
              for (int64_t t = 0; t < s.k; ++t) {
                const double term = x[xs + (across ? t * s.m + i : i * s.k + t)] * y[ys + (down ? j * s.k + t : t * s.n + j)];
                exact += term, size += std::fabs(term);
              }
              REQUIRE(std::fabs(got[(p * s.m + i) * s.n + j] - exact) <= SumBound(s.k, size, type, exact));
            }
          }
        }
      }
    }
  }
}

TEST_CASE("operands that do not fit a product are errors") {
  const Array w = Random(DType::kF32, {6, 4});
  CHECK_THROWS_AS(Run(Linear(w), {Array(DType::kF32, {2, 5})}, {Array(DType::kF32, {2, 4})}), Error);
  CHECK_THROWS_AS(Run(Linear(w), {Array(DType::kF32, {})}, {Array(DType::kF32, {4})}), Error);
  CHECK_THROWS_AS(Run(Linear(w), {Array(DType::kF32, {2, 6})}, {Array(DType::kF32, {1, 4})}), Error);  // too small
  CHECK_THROWS_AS(PackMatrix(MatrixSource::Of(DType::kI32, w.bytes.data(), 6, 4, 4, 1)), Error);
  Call call = Linear(w);
  call.attributes["program"] = Program(2, 3, {{TileOp::kAdd, 2, 0, 1}}, {2});
  const Array x(DType::kF32, {2, 6}), out(DType::kF32, {2, 4});
  for (const auto& [layout, shape] : std::initializer_list<std::pair<const char*, Sizes>>{
           {"column", {3}}, {"full", {1, 4}}, {"scalar", {0}}, {"nonsense", {4}}, {"column column", {4}}}) {
    call.attributes["layout"] = std::string(layout);
    CHECK_THROWS_AS(Run(call, {x, Array(DType::kF32, shape)}, {out}), Error);
  }
  call.attributes["layout"] = std::string("column");
  CHECK_THROWS_AS(Run(call, {x}, {out}), Error);  // an operand is missing
  const Call matmul{"matmul", {{"transpose_x", int64_t{0}}, {"transpose_y", int64_t{0}}}, {}};
  CHECK_THROWS_AS(Run(matmul, {Array(DType::kF32, {2, 3}), Array(DType::kF32, {4, 2})}, {Array(DType::kF32, {2, 2})}), Error);
  CHECK_THROWS_AS(Run(matmul, {Array(DType::kF32, {3, 2, 3}), Array(DType::kF32, {2, 3, 2})}, {Array(DType::kF32, {3, 2, 2})}),
                  Error);
  CHECK_THROWS_AS(Run(matmul, {Array(DType::kF32, {2, 3}), Array(DType::kF32, {3, 2})}, {Array(DType::kF32, {2, 3})}), Error);
}

}  // namespace gristmill::test
