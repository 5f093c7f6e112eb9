// Size expressions, against their meaning; what cannot be computed is an Error.
#include <limits>

#include "core/sizes.h"
#include "support.h"

namespace gristmill::test {
namespace {

using Op = SizeTable::Op;

int64_t Apply(Op op, int64_t a, int64_t b) {
  SizeTable table;
  const int entry = table.Add({{Op::kSymbol, 0}, {Op::kSymbol, 1}, {op, 0}});
  table.Evaluate({a, b});
  return table[entry];
}

}  // namespace

TEST_CASE("operations on sizes") {
  CHECK(Apply(Op::kAdd, 5, -8) == -3);
  CHECK(Apply(Op::kMultiply, -4, 6) == -24);
  CHECK(Apply(Op::kMin, 3, 9) == 3);
  CHECK(Apply(Op::kMax, 3, 9) == 9);
  for (int64_t a = -7; a <= 7; ++a) {
    for (int64_t b : {-3, -2, -1, 1, 2, 3}) {
      CHECK(Apply(Op::kFloorDiv, a, b) == static_cast<int64_t>(std::floor(static_cast<double>(a) / static_cast<double>(b))));
    }
  }
}

TEST_CASE("entries build on earlier ones and follow the symbols") {
  SizeTable table;
  const int sum = table.Add({{Op::kSymbol, 0}, {Op::kConstant, 3}, {Op::kAdd, 0}});
  const int area = table.Add({{Op::kEntry, sum}, {Op::kEntry, sum}, {Op::kMultiply, 0}});
  for (int64_t n : {0, 1, 10}) {
    table.Evaluate({n});
    CHECK(table[sum] == n + 3);
    CHECK(table[area] == (n + 3) * (n + 3));
  }
}

TEST_CASE("what has no size is an error") {
  constexpr int64_t kLeast = std::numeric_limits<int64_t>::min(), kMost = std::numeric_limits<int64_t>::max();
  CHECK_THROWS_AS(Apply(Op::kFloorDiv, 1, 0), Error);
  CHECK_THROWS_AS(Apply(Op::kFloorDiv, kLeast, -1), Error);  // the quotient is 2^63
  CHECK_THROWS_AS(Apply(Op::kAdd, kMost, 1), Error);
  CHECK_THROWS_AS(Apply(Op::kMultiply, kMost, 2), Error);
  SizeTable table;
  CHECK_THROWS_AS(table.Add({}), Error);
  CHECK_THROWS_AS(table.Add({{Op::kConstant, 1}, {Op::kConstant, 2}}), Error);
  CHECK_THROWS_AS(table.Add({{Op::kConstant, 1}, {Op::kAdd, 0}}), Error);
  CHECK_THROWS_AS(table.Add({{Op::kEntry, 0}}), Error);
  CHECK_THROWS_AS(table.Add({{Op::kEntry, -1}}), Error);
  CHECK_THROWS_AS(table[0], Error);
  const int missing = table.Add({{Op::kSymbol, 2}});
  CHECK_THROWS_AS(table.Evaluate({1, 2}), Error);
  CHECK_THROWS_AS(table[missing + 1], Error);
  CHECK_THROWS_AS(table[-1], Error);
}

}  // namespace gristmill::test
