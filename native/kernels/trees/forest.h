// Decision trees: rows walk from roots to leaves, and what leaves hold is summed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

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
// decides exactly as comparing the numbers would, and nodes and rows are half as large in the caches that walks live on.
class Forest {
 public:
  // Each tree's nodes lie together, children after their parents; node i's leaf values are those from begins[i] to
  // begins[i + 1]. Raises Error where a walk or a sum would leave its array, or a walk would not end.
  Forest(const std::vector<Branch>& branches, std::vector<int32_t> roots, std::vector<int64_t> begins,
         std::vector<LeafValue> values, int64_t dimensions);

  int64_t dimensions() const { return dimensions_; }
  int64_t features() const { return static_cast<int64_t>(thresholds_.size()); }  // that a row must have

  // sums [rows, dimensions] += leaves' values for x [rows, features], in the order of trees for each row: bits depend
  // neither on other rows nor on threads. Not-a-number is a missing value.
  void AddSums(const double* x, int64_t rows, int64_t features, double* sums, int threads) const;

 private:
  struct Node {
    static constexpr uint32_t kMissingIsSecond = 1u << 31, kEqual = 1u << 30, kFeature = kEqual - 1;
    int32_t rank;      // of the threshold; nothing reaches a leaf's
    uint32_t feature;  // with the two flags
    int32_t first;
  };
  static constexpr int64_t kLanes = 8;  // walks side by side: each waits for its own loads, not for the others'
  static constexpr int32_t kMissing = -1;

  void CheckLeaves() const;
  void RankThresholds(const std::vector<Branch>& branches);
  void MeasureDepths();
  bool Rank(const double* x, int64_t rows, int64_t features, int32_t* ranks) const;
  template <bool kSimple>
  void AddRows(const int32_t* ranks, int64_t rows, double* sums) const;
  template <bool kSimple>
  void AddRow(const int32_t* ranks, double* sums) const;
  template <bool kSimple>
  void Walk(const int32_t* const* rows, int32_t depth, int32_t* at) const;
  void AddLeaf(int32_t node, double* sums) const {
    if (dimensions_ == 1) {
      *sums += alone_[static_cast<size_t>(node)];
    } else {
      for (int64_t i = begins_[static_cast<size_t>(node)]; i < begins_[static_cast<size_t>(node) + 1]; ++i)
        sums[values_[static_cast<size_t>(i)].dimension] += values_[static_cast<size_t>(i)].value;
    }
  }

  std::vector<Node> nodes_;
  std::vector<int32_t> roots_;
  std::vector<int32_t> depths_;  // of each tree: branches on its longest way
  std::vector<int64_t> begins_;
  std::vector<LeafValue> values_;
  std::vector<double> alone_;  // for one dimension: each node's whole contribution
  std::vector<std::vector<double>> thresholds_;  // of each feature, ascending
  int64_t dimensions_;
  bool equal_ = false;  // whether a branch asks for equality
};

}  // namespace gristmill
