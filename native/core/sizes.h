// Integer expressions over the symbols of a program's shapes.
#pragma once

#include <cstdint>
#include <vector>

namespace gristmill {

// Expressions in postfix form, evaluated again for each new set of input sizes. An expression is known by its place in
// the table, so that equal ones are computed once.
class SizeTable {
 public:
  enum class Op : uint8_t { kConstant, kSymbol, kAdd, kMultiply, kFloorDiv, kMin, kMax, kEntry };
  struct Step {
    Op op;
    int64_t value;  // of a constant; number of a symbol or of an earlier entry
  };

  // Returns the number of the new entry. Throws Error when the steps do not leave exactly one value.
  int Add(std::vector<Step> steps);

  // Computes all entries. Throws Error on division by zero or overflow.
  void Evaluate(const std::vector<int64_t>& symbols);

  // Throws Error when there is no such entry.
  int64_t operator[](int entry) const;
  bool has(int entry) const { return entry >= 0 && entry < count(); }
  int count() const { return static_cast<int>(entries_.size()); }

 private:
  std::vector<std::vector<Step>> entries_;
  std::vector<int64_t> values_;
};

}  // namespace gristmill
