#include "core/sizes.h"

#include <algorithm>
#include <limits>

#include "core/types.h"

namespace gristmill {
namespace {

int64_t FloorDiv(int64_t a, int64_t b) {
  Require(b != 0, "a size is divided by zero");
  Require(b != -1 || a != std::numeric_limits<int64_t>::min(), "a size overflows");
  const int64_t quotient = a / b;
  return quotient - ((a % b != 0) && ((a < 0) != (b < 0)));
}

int64_t Apply(SizeTable::Op op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
    case SizeTable::Op::kAdd:
      Require(!__builtin_add_overflow(a, b, &result), "a size overflows");
      return result;
    case SizeTable::Op::kMultiply:
      Require(!__builtin_mul_overflow(a, b, &result), "a size overflows");
      return result;
    case SizeTable::Op::kFloorDiv:
      return FloorDiv(a, b);
    case SizeTable::Op::kMin:
      return std::min(a, b);
    case SizeTable::Op::kMax:
      return std::max(a, b);
    default:
      throw Error("not an operation on two sizes");
  }
}

bool IsLeaf(SizeTable::Op op) {
  return op == SizeTable::Op::kConstant || op == SizeTable::Op::kSymbol || op == SizeTable::Op::kEntry;
}

}  // namespace

int64_t SizeTable::operator[](int entry) const {
  Require(has(entry), "a size names no entry");
  return values_[static_cast<size_t>(entry)];
}

int SizeTable::Add(std::vector<Step> steps) {
  int64_t depth = 0;
  for (const Step& step : steps) {
    if (step.op == Op::kEntry) Require(step.value >= 0 && step.value < count(), "a size refers to a later one");
    if (!IsLeaf(step.op)) Require(depth >= 2, "an operation on sizes lacks an operand");
    depth += IsLeaf(step.op) ? 1 : -1;
  }
  Require(depth == 1, "an expression leaves one size");
  entries_.push_back(std::move(steps));
  values_.push_back(0);
  return count() - 1;
}

void SizeTable::Evaluate(const std::vector<int64_t>& symbols) {
  std::vector<int64_t> stack;
  for (size_t entry = 0; entry < entries_.size(); ++entry) {
    stack.clear();
    for (const Step& step : entries_[entry]) {
      switch (step.op) {
        case Op::kConstant:
          stack.push_back(step.value);
          break;
        case Op::kSymbol:
          Require(step.value >= 0 && step.value < static_cast<int64_t>(symbols.size()), "a size names no symbol");
          stack.push_back(symbols[step.value]);
          break;
        case Op::kEntry:
          stack.push_back(values_[step.value]);
          break;
        default: {
          const int64_t b = stack.back();
          stack.pop_back();
          stack.back() = Apply(step.op, stack.back(), b);
        }
      }
    }
    values_[entry] = stack.back();
  }
}

}  // namespace gristmill
