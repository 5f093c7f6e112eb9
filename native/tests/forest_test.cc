// Tree ensembles against walking one tree after the other with the numbers themselves.
#include <cmath>
#include <limits>
#include <random>

#include "doctest/doctest.h"
#include "kernels/trees/forest.h"
#include "core/types.h"

namespace gristmill::test {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Random trees of up to eight levels over few distinct numbers, so that values often equal thresholds.
struct Trees {
  Trees(int64_t count, int64_t dimensions, bool equality, unsigned seed) : generator(seed), dimensions(dimensions), equality(equality) {
    for (int64_t i = 0; i < count; ++i) {
      roots.push_back(static_cast<int32_t>(branches.size()));
      branches.emplace_back();
      Grow(roots.back(), static_cast<int>(i % 9));
    }
    for (const auto& own : leaves) {
      begins.push_back(static_cast<int64_t>(values.size()));
      values.insert(values.end(), own.begin(), own.end());
    }
    begins.push_back(static_cast<int64_t>(values.size()));
  }

  int Draw(int below) { return static_cast<int>(generator() % static_cast<unsigned>(below)); }

  void Grow(int32_t node, int levels) {
    leaves.resize(branches.size());
    if (levels == 0 || Draw(5) == 0) {
      branches[static_cast<size_t>(node)] = {kNan, 0, node, false, false};
      for (int i = Draw(3); i >= 0; --i) leaves[static_cast<size_t>(node)].push_back({Draw(1000) / 7.0, Draw(static_cast<int>(dimensions))});
      return;
    }
    const auto first = static_cast<int32_t>(branches.size());
    const int kind = Draw(20);  // nothing is at least not-a-number, but what is missing goes where the branch says
    const double threshold = kind == 0 ? std::numeric_limits<double>::infinity() : kind == 1 ? kNan : Draw(5) - 2;
    branches[static_cast<size_t>(node)] = {threshold, static_cast<uint32_t>(Draw(4)), first, equality && Draw(2) == 0, Draw(2) == 0};
    branches.resize(branches.size() + 2);
    Grow(first, levels - 1);
    Grow(first + 1, levels - 1);
  }

  void Add(const double* row, double* sums) const {
    for (int32_t at : roots) {
      for (; branches[static_cast<size_t>(at)].first != at;) {
        const Branch& branch = branches[static_cast<size_t>(at)];
        const double value = row[branch.feature];
        const bool second = std::isnan(value) ? branch.missing_is_second
                            : branch.equal    ? value == branch.threshold
                                              : value >= branch.threshold;
        at = branch.first + second;
      }
      double own = 0;  // one dimension adds up what a leaf holds first
      for (const LeafValue& leaf : leaves[static_cast<size_t>(at)])
        if (dimensions == 1) own += leaf.value; else sums[leaf.dimension] += leaf.value;
      if (dimensions == 1) *sums += own;
    }
  }

  Forest Made() const { return {branches, roots, begins, values, dimensions}; }

  std::mt19937 generator;
  int64_t dimensions;
  bool equality;
  std::vector<Branch> branches;
  std::vector<std::vector<LeafValue>> leaves;
  std::vector<int32_t> roots;
  std::vector<int64_t> begins;
  std::vector<LeafValue> values;
};

}  // namespace

TEST_CASE("a forest's sums are those of walking its trees one after the other, to the bit, for any rows and threads") {
  constexpr int64_t kFeatures = 5;
  for (int64_t dimensions : {1, 3}) {
    for (bool equality : {false, true}) {
      const int64_t count = dimensions == 1 ? 300 : 21;
      const Trees trees(count, dimensions, equality, static_cast<unsigned>(dimensions) + equality);
      const Forest forest = trees.Made();
      std::mt19937 generator(1);
      for (bool missing : {false, true}) {
        for (int64_t rows : {0, 1, 7, 8, 9, 100, 3000}) {
          std::vector<double> x(static_cast<size_t>(rows * kFeatures));
          for (double& value : x) {
            value = static_cast<int>(generator() % 6) - 3 + (generator() % 2) * 0.5;
            if (missing && generator() % 5 == 0) value = kNan;
            if (generator() % 50 == 0) value = std::numeric_limits<double>::infinity();
          }
          std::vector<double> expected(static_cast<size_t>(rows * dimensions), 0.25);
          for (int64_t row = 0; row < rows; ++row) trees.Add(x.data() + row * kFeatures, expected.data() + row * dimensions);
          for (int threads : {1, 2, 3}) {
            std::vector<double> sums(expected.size(), 0.25);
            forest.AddSums(x.data(), rows, kFeatures, sums.data(), threads);
            REQUIRE(sums == expected);
          }
        }
      }
    }
  }
}

TEST_CASE("a forest that would leave its arrays, or never arrive, is refused") {
  const Trees trees(9, 2, false, 1);
  const auto made = [&](auto change) {
    Trees other = trees;
    change(other);
    return other.Made();
  };
  CHECK_NOTHROW(made([](Trees&) {}));
  CHECK_THROWS_AS(made([](Trees& t) { t.roots[0] = static_cast<int32_t>(t.branches.size()); }), Error);
  CHECK_THROWS_AS(made([](Trees& t) { t.branches[0] = {0, 0, static_cast<int32_t>(t.branches.size()) - 1, false, false}; }), Error);
  CHECK_THROWS_AS(made([](Trees& t) { t.branches[2] = {0, 0, 1, false, false}; }), Error);
  CHECK_THROWS_AS(made([](Trees& t) { t.roots[1] = t.roots[0]; }), Error);
  CHECK_THROWS_AS(made([](Trees& t) { t.values[0].dimension = 2; }), Error);
  CHECK_THROWS_AS(made([](Trees& t) { t.begins.back() += 1; }), Error);
  CHECK_THROWS_AS(made([](Trees& t) { t.begins.pop_back(); }), Error);
  const auto chain = [](int32_t second) {  // node 2 is a child of node 0, and of node 1 where its first child is 2
    const std::vector<Branch> nodes = {{0, 0, 1, false, false}, {0, 0, second, false, false}, {kNan, 0, 2, false, false},
                                       {kNan, 0, 3, false, false}, {kNan, 0, 4, false, false}};
    return Forest(nodes, {0}, {0, 0, 0, 0, 0, 0}, {}, 1);
  };
  CHECK_NOTHROW(chain(3));
  CHECK_THROWS_AS(chain(2), Error);
  double x = 0, sums[2] = {0, 0};
  CHECK_THROWS_AS(trees.Made().AddSums(&x, 1, 1, sums, 1), Error);
}

}  // namespace gristmill::test
