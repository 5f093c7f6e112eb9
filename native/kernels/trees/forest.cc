#include "kernels/trees/forest.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "core/thread_pool.h"
#include "core/types.h"

namespace gristmill {
namespace {

// Blocks walked by several rows before others are: with their leaves' values they stay in the second-level cache.
constexpr int64_t kGroupBlocks = 2048;
// Ranks of the rows that take turns on one tree: they stay in the first-level cache beside it.
constexpr int64_t kTurnRanks = 3072;
// Trees that one row walks at once, and whose leaves it then waits for together.
constexpr size_t kRowTrees = 256;
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

template <typename T>
Buffer Copied(const std::vector<T>& values) {
  Buffer copy = SharedBlock(values.size() * sizeof(T));
  std::copy(values.begin(), values.end(), copy.as<T>());
  return copy;
}

}  // namespace

Forest::Forest(const std::vector<Branch>& branches, const std::vector<int32_t>& roots, const std::vector<int64_t>& begins,
               const std::vector<LeafValue>& values, int64_t dimensions)
    : dimensions_(dimensions) {
  const auto count = static_cast<int64_t>(branches.size());
  Require(dimensions > 0, "sums have dimensions");
  std::vector<bool> reached(branches.size(), false);
  const auto reach = [&](int64_t node) {
    Require(!reached[static_cast<size_t>(node)], "a node has one parent, and a root none");
    reached[static_cast<size_t>(node)] = true;
  };
  for (int32_t root : roots) {
    Require(root >= 0 && root < count, "a root is a node");
    reach(root);
  }
  size_t features = 0;
  for (int64_t i = 0; i < count; ++i) {
    const Branch& branch = branches[static_cast<size_t>(i)];
    if (branch.first == i) continue;
    Require(branch.first > i && branch.first + 1 < count, "children come after their parent");
    Require(branch.feature < kMostFeatures, "a branch asks for a feature too far");
    reach(branch.first), reach(branch.first + 1);
    features = std::max<size_t>(features, branch.feature + 1);
  }
  Require(begins.size() == branches.size() + 1 && begins.front() == 0 && begins.back() == static_cast<int64_t>(values.size()) &&
              std::is_sorted(begins.begin(), begins.end()),
          "each node has leaf values, or none, in the order of nodes");
  for (const LeafValue& leaf : values)
    Require(leaf.dimension >= 0 && leaf.dimension < dimensions, "a leaf adds to a dimension that is there");
  thresholds_.resize(features);
  CollectThresholds(branches);
  MakeBlocks(branches, roots, begins, values);
}

void Forest::CollectThresholds(const std::vector<Branch>& branches) {
  for (size_t i = 0; i < branches.size(); ++i) {
    const Branch& branch = branches[i];
    if (branch.first == static_cast<int64_t>(i) || std::isnan(branch.threshold)) continue;
    std::vector<double>& own = thresholds_[branch.feature];
    own.push_back(branch.threshold);
    // What equals a threshold is at least it, and not at least the number after it.
    if (branch.equal) own.push_back(std::nextafter(branch.threshold, kInfinity));
    equal_ = equal_ || branch.equal;
  }
  for (std::vector<double>& own : thresholds_) {
    std::sort(own.begin(), own.end());
    own.erase(std::unique(own.begin(), own.end()), own.end());
  }
}

void Forest::SetBranch(const Branch& branch, bool leaf, size_t at, Block& block) const {
  // Nothing is at least not-a-number, but what is missing may go on to the second child.
  const bool never = std::isnan(branch.threshold);
  block.rank[at] = leaf ? kLeaf : never ? kMissingIsSecond : RankOf(thresholds_[branch.feature], branch.threshold);
  block.feature[at] = leaf ? 0 : 2 * branch.feature + branch.missing_is_second + (branch.equal ? kEqual : 0);
}

// `tops` are the nodes at the tops of blocks: first the roots, then those that the blocks before lead to.
void Forest::MakeBlocks(const std::vector<Branch>& branches, std::vector<int32_t> tops, const std::vector<int64_t>& begins,
                        const std::vector<LeafValue>& values) {
  constexpr int32_t kNone = -1;  // below a leaf, on the second side
  const auto is_leaf = [&](int32_t node) { return node == kNone || branches[static_cast<size_t>(node)].first == node; };
  std::vector<Block> blocks;
  std::vector<double> alone;
  std::vector<int32_t> trees(tops.size());
  std::iota(trees.begin(), trees.end(), 0);
  sizes_.assign(tops.size(), 0);
  for (size_t i = 0; i < tops.size(); ++i) {
    ++sizes_[static_cast<size_t>(trees[i])];
    std::array<int32_t, kInner + kExits> nodes;
    nodes[0] = tops[i];
    Block block{};
    for (size_t at = 0; at < kInner; ++at) {
      const int32_t node = nodes[at];
      const bool leaf = is_leaf(node);
      SetBranch(leaf ? Branch{} : branches[static_cast<size_t>(node)], leaf, at, block);
      nodes[2 * at + 1] = leaf ? node : branches[static_cast<size_t>(node)].first;
      nodes[2 * at + 2] = leaf ? kNone : branches[static_cast<size_t>(node)].first + 1;
    }
    block.first = static_cast<int32_t>(tops.size());
    for (int32_t exit = 0, behind = 0; exit < kExits; ++exit) {
      const int32_t node = nodes[static_cast<size_t>(kInner + exit)];
      double sum = 0;
      begins_.push_back(static_cast<int64_t>(values_.size()));
      if (!is_leaf(node)) {
        block.next |= static_cast<uint32_t>(++behind) << 4 * exit;
        tops.push_back(node), trees.push_back(trees[i]);
      } else if (node != kNone) {
        const auto own = static_cast<size_t>(node);
        for (int64_t j = begins[own]; j < begins[own + 1]; ++j) {
          sum += values[static_cast<size_t>(j)].value;
          values_.push_back(values[static_cast<size_t>(j)]);
        }
      }
      alone.push_back(sum);
    }
    blocks.push_back(block);
    Require(tops.size() < size_t{1} << 28, "so many branches have no room");
  }
  begins_.push_back(static_cast<int64_t>(values_.size()));
  blocks_ = Copied(blocks);
  if (dimensions_ == 1) alone_ = Copied(alone), values_.clear(), begins_.clear();
}

// Ranks [rows, width()] of x, feature by feature, whose thresholds stay in the cache.
void Forest::Rank(const double* x, int64_t rows, int64_t features, int32_t* ranks) const {
  for (size_t i = 0; i < thresholds_.size(); ++i)
    for (int64_t row = 0; row < rows; ++row) {
      const double value = x[row * features + static_cast<int64_t>(i)];
      const bool missing = std::isnan(value);
      const int32_t rank = RankOf(thresholds_[i], value);
      int32_t* const own = ranks + row * width() + 2 * static_cast<int64_t>(i);
      own[0] = missing ? kMissingIsFirst : rank;
      own[1] = missing ? kMissingIsSecond : rank;
    }
}

template <bool kEquality>
inline bool Forest::IsSecond(const Block& block, size_t node, const int32_t* ranks) {
  const uint32_t feature = block.feature[node];
  const int32_t threshold = block.rank[node];
  if constexpr (!kEquality) return ranks[feature] >= threshold;
  const int32_t rank = ranks[feature & ~kEqual];
  return (rank >= threshold) & (!(feature & kEqual) | (rank == threshold) | (rank == kMissingIsSecond));
}

// Walks kLanes ways through a block each: way i is of the row at rows[i], is at block at[i] and leaves it at exits[i].
// Returns whether all have arrived at leaves: who has stays, and may walk again. `kEquality` is for forests in which
// branches ask for it.
template <bool kEquality>
bool Forest::Step(const int32_t* const* rows, int32_t* at, int32_t* exits) const {
  const Block* blocks = blocks_.as<const Block>();
  std::array<size_t, kLanes> nodes{};
  for (int32_t level = 0; level < kLevels; ++level)
    for (size_t i = 0; i < kLanes; ++i)
      nodes[i] = 2 * nodes[i] + 1 + IsSecond<kEquality>(blocks[at[i]], nodes[i], rows[i]);
  bool arrived = true;
  for (size_t i = 0; i < kLanes; ++i) {
    const Block& block = blocks[at[i]];
    const auto exit = static_cast<int32_t>(nodes[i]) - kInner;
    const auto next = static_cast<int32_t>(block.next >> 4 * exit & 15);
    exits[i] = at[i] * kExits + exit;
    arrived = arrived & (next == 0);
    at[i] += (block.first + next - 1 - at[i]) & -static_cast<int32_t>(next != 0);
  }
  return arrived;
}

// One row walks many trees, all of them through a block before any goes on: until it does, its next block is fetched.
template <bool kEquality>
void Forest::AddRow(const int32_t* ranks, double* sums) const {
  const Block* blocks = blocks_.as<const Block>();
  std::array<const int32_t*, kLanes> rows;
  rows.fill(ranks);
  for (size_t begin = 0; begin < sizes_.size(); begin += kRowTrees) {
    const size_t count = std::min(kRowTrees, sizes_.size() - begin), groups = (count + kLanes - 1) / kLanes;
    std::array<int32_t, kRowTrees> at, exits;
    for (size_t i = 0; i < groups * kLanes; ++i) at[i] = static_cast<int32_t>(begin + std::min(i, count - 1));
    std::array<bool, kRowTrees / kLanes> arrived{};
    for (bool all = false; !all;) {
      all = true;
      for (size_t group = 0; group < groups; ++group) {
        if (arrived[group]) continue;
        int32_t* const own = at.data() + group * kLanes;
        arrived[group] = Step<kEquality>(rows.data(), own, exits.data() + group * kLanes);
        all = all && arrived[group];
        for (size_t i = 0; i < kLanes; ++i) __builtin_prefetch(blocks + own[i]);
      }
    }
    for (size_t i = 0; i < count; ++i) AddLeaf(exits[i], sums);
  }
}

// Several rows walk one tree at once, and take turns on a group of trees.
template <bool kEquality>
void Forest::AddRows(const int32_t* ranks, int64_t rows, double* sums) const {
  const int64_t width = this->width(), whole = rows / kLanes * kLanes;
  const int64_t turn = std::max<int64_t>(1, kTurnRanks / (std::max<int64_t>(1, width) * kLanes)) * kLanes;
  for (size_t group = 0, end = 0; group < sizes_.size() && whole > 0; group = end) {
    for (int64_t blocks = 0; end < sizes_.size() && (end == group || blocks < kGroupBlocks); ++end) blocks += sizes_[end];
    for (int64_t begin = 0; begin < whole; begin += turn)
      for (size_t tree = group; tree < end; ++tree)
        for (int64_t row = begin; row < std::min(begin + turn, whole); row += kLanes) {
          std::array<const int32_t*, kLanes> lanes;
          std::array<int32_t, kLanes> at, exits;
          for (size_t i = 0; i < kLanes; ++i) lanes[i] = ranks + (row + static_cast<int64_t>(i)) * width;
          at.fill(static_cast<int32_t>(tree));
          while (!Step<kEquality>(lanes.data(), at.data(), exits.data())) continue;
          for (size_t i = 0; i < kLanes; ++i) AddLeaf(exits[i], sums + (row + static_cast<int64_t>(i)) * dimensions_);
        }
  }
  for (int64_t row = whole; row < rows; ++row) AddRow<kEquality>(ranks + row * width, sums + row * dimensions_);
}

void Forest::AddSums(const double* x, int64_t rows, int64_t features, double* sums, int threads) const {
  Require(features >= this->features(), "rows have the features that branches ask for");
  if (rows == 0) return;
  // Enough tasks for all threads, of enough rows each that a tree is read for many of them.
  const int64_t share = (rows / std::max(1, threads) + kLanes) / kLanes * kLanes;
  const int64_t size = std::clamp<int64_t>(share, kLanes, kTaskRows), tasks = (rows + size - 1) / size;
  std::vector<int32_t> ranks(static_cast<size_t>(rows * width()) + 1);
  const auto add = [&](int64_t task, int) {
    const int64_t begin = task * size, count = std::min(size, rows - begin);
    int32_t* own = ranks.data() + begin * width();
    Rank(x + begin * features, count, features, own);
    double* to = sums + begin * dimensions_;
    equal_ ? AddRows<true>(own, count, to) : AddRows<false>(own, count, to);
  };
  tasks == 1 ? add(0, 0) : ThreadPool::Global().Run(tasks, threads, add);
}

}  // namespace gristmill
