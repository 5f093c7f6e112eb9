#include "kernels/trees/forest.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "core/thread_pool.h"
#include "core/types.h"

namespace gristmill {
namespace {

// Branches between two looks whether all have arrived.
constexpr int32_t kStride = 4;
// Nodes walked by several rows before others are: with their leaves' values they stay in the second-level cache.
constexpr int64_t kGroupNodes = 8192;
// Ranks of the rows that take turns on one tree: they stay in the first-level cache beside it.
constexpr int64_t kTurnRanks = 3072;
constexpr int64_t kTaskRows = 1024;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// How many thresholds are at most the value. Halving without jumps, which random values would mispredict.
inline int32_t RankOf(const std::vector<double>& thresholds, double value) {
  const double* base = thresholds.data();
  size_t count = thresholds.size();
  while (count > 1) {
    const size_t half = count / 2;
    base = base[half] <= value ? base + half : base;
    count -= half;
  }
  const bool beyond = count == 1 && *base <= value;
  return static_cast<int32_t>(base - thresholds.data()) + beyond;
}

}  // namespace

Forest::Forest(const std::vector<Branch>& branches, std::vector<int32_t> roots, std::vector<int64_t> begins,
               std::vector<LeafValue> values, int64_t dimensions)
    : roots_(std::move(roots)), begins_(std::move(begins)), values_(std::move(values)), dimensions_(dimensions) {
  const auto count = static_cast<int64_t>(branches.size());
  Require(dimensions > 0, "sums have dimensions");
  Require(begins_.size() == branches.size() + 1, "each node has leaf values, or none");
  for (int32_t root : roots_) Require(root >= 0 && root < count, "a root is a node");
  size_t features = 0;
  for (int64_t i = 0; i < count; ++i) {
    const Branch& branch = branches[static_cast<size_t>(i)];
    const bool leaf = branch.first == i;
    Require(leaf || (branch.first > i && branch.first + 1 < count), "children come after their parent");
    Require(branch.feature <= Node::kFeature, "a branch asks for a feature too far");
    if (!leaf) features = std::max<size_t>(features, branch.feature + 1);
  }
  CheckLeaves();
  thresholds_.resize(features);
  RankThresholds(branches);
  MeasureDepths();
  if (dimensions == 1) {
    alone_.assign(branches.size(), 0);
    for (size_t i = 0; i < branches.size(); ++i)
      for (int64_t j = begins_[i]; j < begins_[i + 1]; ++j) alone_[i] += values_[static_cast<size_t>(j)].value;
  }
}

void Forest::CheckLeaves() const {
  Require(begins_.front() == 0 && begins_.back() == static_cast<int64_t>(values_.size()) &&
              std::is_sorted(begins_.begin(), begins_.end()),
          "leaf values lie in the order of nodes");
  for (const LeafValue& leaf : values_)
    Require(leaf.dimension >= 0 && leaf.dimension < dimensions_, "a leaf adds to a dimension that is there");
}

void Forest::RankThresholds(const std::vector<Branch>& branches) {
  const auto is_leaf = [&](size_t i) { return branches[i].first == static_cast<int64_t>(i); };
  for (size_t i = 0; i < branches.size(); ++i) {
    const Branch& branch = branches[i];
    if (is_leaf(i) || std::isnan(branch.threshold)) continue;
    std::vector<double>& own = thresholds_[branch.feature];
    own.push_back(branch.threshold);
    // What equals a threshold is at least it, and not at least the number after it.
    if (branch.equal) own.push_back(std::nextafter(branch.threshold, kInfinity));
  }
  for (std::vector<double>& own : thresholds_) {
    std::sort(own.begin(), own.end());
    own.erase(std::unique(own.begin(), own.end()), own.end());
  }
  nodes_.reserve(branches.size());
  for (size_t i = 0; i < branches.size(); ++i) {
    const Branch& branch = branches[i];
    const bool never = is_leaf(i) || std::isnan(branch.threshold);  // nothing is at least not-a-number
    equal_ = equal_ || (branch.equal && !is_leaf(i));
    nodes_.push_back(
        {never ? std::numeric_limits<int32_t>::max() : RankOf(thresholds_[branch.feature], branch.threshold),
         is_leaf(i) ? 0 : branch.feature | (branch.equal ? Node::kEqual : 0) | (branch.missing_is_second ? Node::kMissingIsSecond : 0),
         branch.first});
  }
}

// Children come after their parents, so one pass from the end knows how far each node is from its farthest leaf.
void Forest::MeasureDepths() {
  std::vector<int32_t> below(nodes_.size(), 0);
  for (size_t i = nodes_.size(); i-- > 0;) {
    const auto first = static_cast<size_t>(nodes_[i].first);
    if (first != i) below[i] = 1 + std::max(below[first], below[first + 1]);
  }
  for (int32_t root : roots_) depths_.push_back(below[static_cast<size_t>(root)]);
}

// Ranks [rows, features()] of x; whether a value is missing. Feature by feature, whose thresholds stay in the cache.
bool Forest::Rank(const double* x, int64_t rows, int64_t features, int32_t* ranks) const {
  bool missing = false;
  for (size_t i = 0; i < thresholds_.size(); ++i)
    for (int64_t row = 0; row < rows; ++row) {
      const double value = x[row * features + static_cast<int64_t>(i)];
      const bool is_missing = std::isnan(value);
      missing = missing || is_missing;
      const int32_t rank = RankOf(thresholds_[i], value);
      ranks[row * this->features() + static_cast<int64_t>(i)] = is_missing ? kMissing : rank;
    }
  return missing;
}

// Walks kLanes ways at once until all have arrived: way i is of the row at rows[i]. `kSimple` is for rows without
// missing values and branches that do not ask for equality.
template <bool kSimple>
void Forest::Walk(const int32_t* const* rows, int32_t depth, int32_t* at) const {
  const Node* nodes = nodes_.data();
  for (int32_t level = 0; level < depth; level += kStride) {
    for (int32_t step = 0; step < kStride; ++step)
      for (int64_t i = 0; i < kLanes; ++i) {
        const Node& node = nodes[at[i]];
        if constexpr (kSimple) {
          at[i] = node.first + static_cast<int32_t>(rows[i][node.feature & Node::kFeature] >= node.rank);
        } else {
          const int32_t rank = rows[i][node.feature & Node::kFeature];
          const bool equal = node.feature & Node::kEqual, missing_is_second = node.feature & Node::kMissingIsSecond;
          const bool second = (rank >= node.rank) & ((rank == node.rank) | !equal);
          at[i] = node.first + static_cast<int32_t>(second | ((rank == kMissing) & missing_is_second));
        }
      }
    bool arrived = true;
    for (int64_t i = 0; i < kLanes; ++i) arrived = arrived && nodes[at[i]].first == at[i];
    if (arrived) return;
  }
}

// One row walks several trees at once.
template <bool kSimple>
void Forest::AddRow(const int32_t* ranks, double* sums) const {
  std::array<const int32_t*, kLanes> rows;
  rows.fill(ranks);
  for (size_t first = 0; first < roots_.size(); first += kLanes) {
    const size_t trees = std::min<size_t>(kLanes, roots_.size() - first);
    std::array<int32_t, kLanes> at;
    int32_t depth = 0;
    for (size_t i = 0; i < kLanes; ++i) {
      at[i] = roots_[first + std::min(i, trees - 1)];
      depth = std::max(depth, depths_[first + std::min(i, trees - 1)]);
    }
    Walk<kSimple>(rows.data(), depth, at.data());
    for (size_t i = 0; i < trees; ++i) AddLeaf(at[i], sums);
  }
}

// Several rows walk one tree at once, and take turns on a group of trees.
template <bool kSimple>
void Forest::AddRows(const int32_t* ranks, int64_t rows, double* sums) const {
  const int64_t width = features(), whole = rows / kLanes * kLanes;
  const int64_t turn = std::max<int64_t>(1, kTurnRanks / (std::max<int64_t>(1, width) * kLanes)) * kLanes;
  for (size_t group = 0, end = 0; group < roots_.size() && whole > 0; group = end) {
    while (end < roots_.size() && (end == group || roots_[end] - roots_[group] < kGroupNodes)) ++end;
    for (int64_t begin = 0; begin < whole; begin += turn)
      for (size_t tree = group; tree < end; ++tree)
        for (int64_t row = begin; row < std::min(begin + turn, whole); row += kLanes) {
          std::array<const int32_t*, kLanes> lanes;
          std::array<int32_t, kLanes> at;
          for (size_t i = 0; i < kLanes; ++i) lanes[i] = ranks + (row + static_cast<int64_t>(i)) * width;
          at.fill(roots_[tree]);
          Walk<kSimple>(lanes.data(), depths_[tree], at.data());
          for (size_t i = 0; i < kLanes; ++i) AddLeaf(at[i], sums + (row + static_cast<int64_t>(i)) * dimensions_);
        }
  }
  for (int64_t row = whole; row < rows; ++row) AddRow<kSimple>(ranks + row * width, sums + row * dimensions_);
}

void Forest::AddSums(const double* x, int64_t rows, int64_t features, double* sums, int threads) const {
  Require(features >= this->features(), "rows have the features that branches ask for");
  if (rows == 0) return;
  // Enough tasks for all threads, of enough rows each that a tree is read for many of them.
  const int64_t share = (rows / std::max(1, threads) + kLanes) / kLanes * kLanes;
  const int64_t size = std::clamp<int64_t>(share, kLanes, kTaskRows), tasks = (rows + size - 1) / size;
  std::vector<int32_t> ranks(static_cast<size_t>(rows * this->features()) + 1);
  const auto add = [&](int64_t task, int) {
    const int64_t begin = task * size, count = std::min(size, rows - begin);
    int32_t* own = ranks.data() + begin * this->features();
    const bool missing = Rank(x + begin * features, count, features, own);
    double* to = sums + begin * dimensions_;
    missing || equal_ ? AddRows<false>(own, count, to) : AddRows<true>(own, count, to);
  };
  tasks == 1 ? add(0, 0) : ThreadPool::Global().Run(tasks, threads, add);
}

}  // namespace gristmill
