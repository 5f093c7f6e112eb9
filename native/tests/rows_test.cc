// Attention, softmax, normalisation and reductions, against their formulas in double precision.
#include "support.h"

namespace gristmill::test {
namespace {

constexpr DType kTypes[] = {DType::kF16, DType::kF32};
constexpr int64_t kHeads = 2;

// softmax(q·kᵀ/√E + mask)·v for one query; also how large the values are, for the bound.
std::vector<double> Attend(const Array& q, const Array& k, const Array& v, const Array* mask, int64_t query, int64_t head) {
  const int64_t wide = q.shape[2], keys = k.shape[1], out = v.shape[2];
  std::vector<double> scores(static_cast<size_t>(keys));
  double top = -HUGE_VAL, sum = 0;
  for (int64_t s = 0; s < keys; ++s) {
    double score = 0;
    for (int64_t e = 0; e < wide; ++e) score += q[query * wide + e] * k[(head * keys + s) * wide + e];
    score /= std::sqrt(static_cast<double>(wide));
    if (mask != nullptr) {
      const double seen = (*mask)[query * keys + s];
      score = mask->dtype == DType::kBool ? (seen != 0 ? score : -HUGE_VAL) : score + seen;
    }
    scores[static_cast<size_t>(s)] = score;
    top = std::max(top, score);
  }
  std::vector<double> result(static_cast<size_t>(out));
  for (int64_t s = 0; s < keys; ++s) {
    const double weight = std::exp(scores[static_cast<size_t>(s)] - top);
    sum += weight;
    for (int64_t f = 0; f < out; ++f) result[static_cast<size_t>(f)] += weight * v[(head * keys + s) * out + f];
  }
  for (double& value : result) value /= sum;
  return result;
}

}  // namespace

TEST_CASE("attention is its formula for few and many queries and keys") {
  const int64_t wide = 20, out = 13;
  for (DType type : kTypes) {
    for (int64_t queries : {1, 4, 5, 50}) {
      for (int64_t keys : {1, 9, 255, 256, 300}) {
        for (int masked = 0; masked < 3; ++masked) {
          const Array q = Random(type, {kHeads, queries, wide}), k = Random(type, {kHeads, keys, wide});
          const Array v = Random(type, {kHeads, keys, out});
          Array mask(masked == 1 ? DType::kBool : type, {kHeads, queries, keys});
          for (int64_t i = 0; i < mask.size(); ++i) mask.Set(i, masked == 1 ? i % keys == 0 || i % 3 : (i % 5) * 0.25);
          std::vector<Array> operands = {q, k, v};
          if (masked) operands.push_back(mask);
          const Array got = Run1({"attention", {}, {}}, operands, type, {kHeads, queries, out});
          double largest = 0;
          for (int64_t i = 0; i < v.size(); ++i) largest = std::max(largest, std::fabs(v[i]));
          // Scores are sums of 20 products whose magnitudes add up to about 20·3/√20; e^score is off by twice as much.
          const double score = 4 * std::sqrt(wide) * std::ldexp(1, -24) * 14;
          const double bound = (2 * score + (4 * std::sqrt(keys) + 4) * std::ldexp(1, -24)) * largest;
          for (int64_t row = 0; row < kHeads * queries; ++row) {
            const auto exact = Attend(q, k, v, masked ? &mask : nullptr, row, row / queries);
            for (int64_t f = 0; f < out; ++f) {
              const double wanted = exact[static_cast<size_t>(f)];
              REQUIRE(std::fabs(got[row * out + f] - wanted) <= bound + Rounding(type, wanted));
            }
          }
        }
      }
    }
  }
}

TEST_CASE("softmax of rows of any width") {
  for (DType type : kTypes) {
    for (int64_t width : {1, 3, 8, 17, 64, 1000, 9000}) {
      const Array x = Random(type, {3, width}, 4.0);
      const Array got = Run1({"softmax", {{"axes", int64_t{1}}}, {}}, {x}, type, {3, width});
      for (int64_t row = 0; row < 3; ++row) {
        double top = -HUGE_VAL, sum = 0;
        for (int64_t i = 0; i < width; ++i) top = std::max(top, x[row * width + i]);
        for (int64_t i = 0; i < width; ++i) sum += std::exp(x[row * width + i] - top);
        for (int64_t i = 0; i < width; ++i) {
          const double exact = std::exp(x[row * width + i] - top) / sum;
          const double error = std::ldexp(exact * (8 + 4 * std::sqrt(width)), -24);
          // Weights below the normal float16 numbers are rounded to their spacing.
          REQUIRE(std::fabs(got[row * width + i] - exact) <= error + Rounding(type, exact));
        }
      }
    }
  }
}

TEST_CASE("standardized rows, with scale and offset for each place or each row") {
  for (DType type : kTypes) {
    for (int64_t width : {2, 8, 33, 1500}) {
      for (bool per_row : {false, true}) {
        const int64_t rows = 6, channels = per_row ? 3 : width;
        const Array x = Random(type, {rows, width}), gamma = Random(DType::kF32, {channels}), beta = Random(DType::kF32, {channels});
        const Call call{"standardize", {{"axes", int64_t{1}}, {"epsilon", 1e-5}, {"per_row", int64_t{per_row}}}, {}};
        const Array got = Run1(call, {x, gamma, beta}, type, {rows, width});
        for (int64_t r = 0; r < rows; ++r) {
          double mean = 0, variance = 0, largest = 0;
          for (int64_t i = 0; i < width; ++i) mean += x[r * width + i] / static_cast<double>(width);
          for (int64_t i = 0; i < width; ++i) {
            variance += (x[r * width + i] - mean) * (x[r * width + i] - mean) / static_cast<double>(width);
            largest = std::max(largest, std::fabs(x[r * width + i]));
          }
          const double sigma = std::sqrt(variance + 1e-5);
          for (int64_t i = 0; i < width; ++i) {
            const int64_t at = per_row ? r % channels : i;
            const double standard = (x[r * width + i] - mean) / sigma, exact = standard * gamma[at] + beta[at];
            const double bound = (4 * std::sqrt(width) * largest / sigma + 4 * std::fabs(standard)) * std::fabs(gamma[at]);
            REQUIRE(std::fabs(got[r * width + i] - exact) <=
                    std::ldexp(bound + std::fabs(beta[at]), -24) + 2 * Rounding(type, exact));
          }
        }
      }
    }
  }
}

TEST_CASE("reductions of rows and columns") {
  for (DType type : kTypes) {
    for (const auto& [outer, count, inner] : std::initializer_list<std::array<int64_t, 3>>{
             {4, 1, 1}, {3, 37, 1}, {2, 5000, 1}, {1, 7, 9}, {3, 130, 600}, {1, 2000, 3}, {0, 3, 2}}) {
      const Array x = Random(type, {outer, count, inner});
      for (const std::string how : {"reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_sum_square",
                                    "reduce_l1_norm", "reduce_l2_norm"}) {
        const Call call{"reduce", {{"how", how}, {"first", int64_t{1}}, {"last", int64_t{2}}}, {}};
        const Array got = Run1(call, {x}, type, {outer, inner});
        for (int64_t at = 0; at < outer * inner; ++at) {
          double sum = 0, size = 0, low = HUGE_VAL, high = -HUGE_VAL;
          for (int64_t i = 0; i < count; ++i) {
            const double value = x[(at / inner * count + i) * inner + at % inner];
            const bool square = how == "reduce_sum_square" || how == "reduce_l2_norm";
            const double term = square ? value * value : how == "reduce_l1_norm" ? std::fabs(value) : value;
            sum += term, size += std::fabs(term);
            low = std::min(low, value), high = std::max(high, value);
          }
          double bound = 4 * std::sqrt(count) * std::ldexp(size, -24), exact = sum;
          if (how == "reduce_mean") exact = sum / static_cast<double>(count), bound /= static_cast<double>(count);
          if (how == "reduce_l2_norm") exact = std::sqrt(sum), bound *= 0.5 / std::max(exact, 1e-30);
          if (how == "reduce_max") exact = high, bound = 0;
          if (how == "reduce_min") exact = low, bound = 0;
          REQUIRE_MESSAGE(std::fabs(got[at] - exact) <= bound + 2 * Rounding(type, exact), how);
        }
      }
    }
  }
}

TEST_CASE("rows that do not fit are errors") {
  auto f32 = [](Sizes shape) { return Array(DType::kF32, std::move(shape)); };
  CHECK_THROWS_AS(Run({"softmax", {{"axes", int64_t{3}}}, {}}, {f32({2, 4})}, {f32({2, 4})}), Error);
  CHECK_THROWS_AS(Run({"softmax", {{"axes", int64_t{-1}}}, {}}, {f32({2, 4})}, {f32({2, 4})}), Error);
  CHECK_THROWS_AS(Run({"softmax", {{"axes", int64_t{1}}}, {}}, {f32({2, 4})}, {f32({2, 5})}), Error);
  const Call standardize{"standardize", {{"axes", int64_t{1}}, {"epsilon", 1e-5}, {"per_row", int64_t{0}}}, {}};
  CHECK_THROWS_AS(Run(standardize, {f32({2, 4}), f32({3})}, {f32({2, 4})}), Error);
  CHECK_THROWS_AS(Run(standardize, {f32({2, 4}), Array(DType::kF16, {4})}, {f32({2, 4})}), Error);
  auto reduce = [](const char* how, int64_t first, int64_t last) {
    return Call{"reduce", {{"how", std::string(how)}, {"first", first}, {"last", last}}, {}};
  };
  CHECK_THROWS_AS(Run(reduce("reduce_sum", 1, 4), {f32({2, 4})}, {f32({2})}), Error);
  CHECK_THROWS_AS(Run(reduce("reduce_sum", -1, 1), {f32({2, 4})}, {f32({2})}), Error);
  CHECK_THROWS_AS(Run(reduce("reduce_sum", 1, 2), {f32({2, 4})}, {f32({3})}), Error);
  CHECK_THROWS_AS(Run(reduce("reduce_max", 1, 2), {f32({2, 0})}, {f32({2})}), Error);
  CHECK_THROWS_AS(Run(reduce("no such reduction", 0, 1), {f32({2})}, {f32({})}), Error);
  const Array q = f32({2, 3, 4}), k = f32({2, 5, 4}), v = f32({2, 5, 6}), out = f32({2, 3, 6});
  const Call attention{"attention", {}, {}};
  CHECK_NOTHROW(Run(attention, {q, k, v}, {out}));
  CHECK_THROWS_AS(Run(attention, {q, f32({2, 5, 3}), v}, {out}), Error);
  CHECK_THROWS_AS(Run(attention, {q, k, f32({2, 4, 6})}, {out}), Error);
  CHECK_THROWS_AS(Run(attention, {q, k, f32({1, 5, 6})}, {out}), Error);
  CHECK_THROWS_AS(Run(attention, {q, k, v}, {f32({2, 3, 5})}), Error);
  CHECK_THROWS_AS(Run(attention, {q, k, v, f32({2, 3, 4})}, {out}), Error);
  CHECK_THROWS_AS(Run(attention, {q, k, v, f32({3, 3, 5})}, {out}), Error);
}

}  // namespace gristmill::test
