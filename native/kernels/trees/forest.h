// Decision trees: rows walk from roots to leaves, and what leaves hold is summed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/buffer.h"

namespace gristmill {

// What a branch asks, or a leaf. The second child, which lies behind the first, is next where a row's feature is at
// least the threshold, or equal to it for branches that ask that. A leaf's threshold is not a number, and its first
// child the leaf itself.
struct Branch {
  double threshold;
  uint32_t feature;
  int32_t first;
  bool equal;
  bool missing_is_second;
};

// What a leaf adds to one dimension of the sums.
struct LeafValue {
  double value;
  int64_t dimension;
};

// Before rows walk, each of their features is replaced by its rank among the thresholds of that feature: comparing ranks
// decides exactly as comparing the numbers would, and is half as large in the caches. A row has two ranks of each feature,
// for branches that send what is missing to their first child and to their second: one is below all thresholds, the other
// above all, so that walking knows nothing of what is missing. Three levels of a tree share a cache line: a walk through
// trees that no near cache holds waits for lines, not for comparisons.
class Forest {
 public:
  // Each node has at most one parent, whose place is before it; node i's leaf values are those from begins[i] to
  // begins[i + 1]. Raises Error where a walk or a sum would leave its array, or a walk would not end.
  Forest(const std::vector<Branch>& branches, const std::vector<int32_t>& roots, const std::vector<int64_t>& begins,
         const std::vector<LeafValue>& values, int64_t dimensions);

  int64_t dimensions() const { return dimensions_; }
  int64_t features() const { return static_cast<int64_t>(thresholds_.size()); }  // that a row must have

  // sums [rows, dimensions] += leaves' values for x [rows, features], in the order of trees for each row: bits depend
  // neither on other rows nor on threads. Not-a-number is a missing value.
  void AddSums(const double* x, int64_t rows, int64_t features, double* sums, int threads) const;

 private:
  static constexpr uint32_t kEqual = 1u << 31, kMostFeatures = 1u << 30;
  static constexpr int32_t kLevels = 3, kInner = (1 << kLevels) - 1, kExits = 1 << kLevels;
  // Branches of three levels: those after branch i are 2i + 1 and 2i + 2. A way leaves the last level by one of eight
  // exits, to another block or to the values of a leaf; one that meets its leaf earlier goes on to the first sides.
  struct alignas(64) Block {
    int32_t rank[kInner];      // of the threshold; nothing reaches a leaf's
    uint32_t feature[kInner];  // which of the row's ranks is compared, and kEqual
    int32_t first;             // of the blocks behind the exits
    uint32_t next;             // four bits for each exit: 0 at a leaf, or one more than how far its block is behind `first`
  };
  static constexpr int64_t kLanes = 8;  // walks side by side: each waits for its own loads, not for the others'
  static constexpr int32_t kMissingIsFirst = -1, kLeaf = std::numeric_limits<int32_t>::max(), kMissingIsSecond = kLeaf - 1;

  void CollectThresholds(const std::vector<Branch>& branches);
  void MakeBlocks(const std::vector<Branch>& branches, std::vector<int32_t> tops, const std::vector<int64_t>& begins,
                  const std::vector<LeafValue>& values);
  void SetBranch(const Branch& branch, bool leaf, size_t at, Block& block) const;
  int64_t width() const { return 2 * features(); }  // a row's ranks
  void Rank(const double* x, int64_t rows, int64_t features, int32_t* ranks) const;
  template <bool kEquality>
  void AddRows(const int32_t* ranks, int64_t rows, double* sums) const;
  template <bool kEquality>
  void AddRow(const int32_t* ranks, double* sums) const;
  template <bool kEquality>
  static bool IsSecond(const Block& block, size_t node, const int32_t* ranks);
  template <bool kEquality>
  bool Step(const int32_t* const* rows, int32_t* at, int32_t* exits) const;
  void AddLeaf(int32_t exit, double* sums) const {
    if (dimensions_ == 1) {
      *sums += alone_.as<double>()[exit];
    } else {
      for (int64_t i = begins_[static_cast<size_t>(exit)]; i < begins_[static_cast<size_t>(exit) + 1]; ++i)
        sums[values_[static_cast<size_t>(i)].dimension] += values_[static_cast<size_t>(i)].value;
    }
  }

  // Walks go everywhere in these two, which pages of the usual size would make a search for addresses.
  Buffer blocks_;                // those of the roots first
  Buffer alone_;                 // for one dimension: what each exit adds
  std::vector<int32_t> sizes_;   // of each tree: its blocks
  std::vector<int64_t> begins_;  // for several: of each exit's values
  std::vector<LeafValue> values_;
  std::vector<std::vector<double>> thresholds_;  // of each feature, ascending
  int64_t dimensions_;
  bool equal_ = false;  // whether a branch asks for equality
};

}  // namespace gristmill
