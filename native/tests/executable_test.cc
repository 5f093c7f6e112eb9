// Executables: tensors in an arena, aliases, sizes that change, several threads, and calls that make no sense.
#include <atomic>
#include <thread>

#include "support.h"

namespace gristmill::test {
namespace {

using Op = SizeTable::Op;

// An executable with short names for what tests do most.
struct Builder {
  explicit Builder(int threads = 2) : executable(threads) {}

  SizeRef Constant(int64_t value) { return {executable.sizes().Add({{Op::kConstant, value}})}; }
  SizeRef Symbol(int number) { return {executable.sizes().Add({{Op::kSymbol, number}})}; }
  int Elementwise(TileOp op, int x, int y, std::vector<SizeRef> shape) {
    const int result = executable.AddArena(DType::kF32, std::move(shape));
    executable.AddCall("elementwise", Attributes({{"program", Program(2, 3, {{op, 2, 0, 1}}, {2})}}), {x, y}, {result});
    return result;
  }
  void Copy(int x, int to) {
    executable.AddCall("elementwise", Attributes({{"program", Program(1, 1, {}, {0})}}), {x}, {to});
  }

  Executable executable;
};

}  // namespace

TEST_CASE("tensors that live at the same time have memory of their own") {
  // Random sums and products of earlier tensors; every tensor is an operand of the last sum, so that lives are long and
  // short. Small integers: float32 is exact.
  std::mt19937 generator(3);
  auto below = [&](size_t n) { return static_cast<size_t>(generator() % n); };
  for (int round = 0; round < 30; ++round) {
    Builder b;
    const std::vector<int64_t> lengths = {1, 3, 64, 700};
    std::vector<SizeRef> sizes;
    for (int64_t length : lengths) sizes.push_back(b.Constant(length));
    struct Known {
      int tensor;
      size_t length;
      std::vector<double> values;
    };
    std::vector<Known> known;
    std::vector<Array> arrays;
    for (size_t length = 0; length < lengths.size(); ++length) {
      Array array(DType::kF32, {lengths[length]});
      std::vector<double> values;
      for (int64_t i = 0; i < array.size(); ++i) {
        array.Set(i, static_cast<double>(below(4)));
        values.push_back(array[i]);
      }
      known.push_back({b.executable.AddExternal(DType::kF32, {sizes[length]}), length, values});
      arrays.push_back(std::move(array));
    }
    for (int step = 0; step < 40; ++step) {
      const Known x = known[below(known.size())], y = known[below(known.size())];
      if (x.length != y.length && x.length != 0 && y.length != 0) continue;  // lengths of 1 broadcast
      const size_t length = std::max(x.length, y.length);
      const TileOp op = step % 2 ? TileOp::kMax : TileOp::kSub;
      Known made{b.Elementwise(op, x.tensor, y.tensor, {sizes[length]}), length, {}};
      for (size_t i = 0; i < static_cast<size_t>(lengths[length]); ++i) {
        const double left = x.values[x.length == 0 ? 0 : i], right = y.values[y.length == 0 ? 0 : i];
        made.values.push_back(op == TileOp::kMax ? std::max(left, right) : left - right);
      }
      known.push_back(std::move(made));
    }
    std::vector<Array> results;
    for (size_t i = lengths.size(); i < known.size(); ++i) {
      results.emplace_back(DType::kF32, Sizes{lengths[known[i].length]});
      b.Copy(known[i].tensor, b.executable.AddExternal(DType::kF32, {sizes[known[i].length]}));
    }
    std::vector<void*> externals;
    for (Array& array : arrays) externals.push_back(array.bytes.data());
    for (Array& array : results) externals.push_back(array.bytes.data());
    b.executable.Configure({});
    b.executable.Run(externals, nullptr);
    for (size_t i = 0; i < results.size(); ++i) {
      const Known& wanted = known[lengths.size() + i];
      for (int64_t j = 0; j < results[i].size(); ++j) REQUIRE(results[i][j] == wanted.values[static_cast<size_t>(j)]);
    }
  }
}

TEST_CASE("an executable follows its symbols, larger and smaller") {
  Builder b;
  const SizeRef n = b.Symbol(0), flat{b.executable.sizes().Add({{Op::kEntry, n.entry}, {Op::kConstant, 4}, {Op::kMultiply, 0}})};
  const SizeRef four = b.Constant(4);
  const int x = b.executable.AddExternal(DType::kF32, {n, four}), y = b.executable.AddExternal(DType::kF32, {flat});
  const int doubled = b.Elementwise(TileOp::kAdd, x, x, {n, four});
  b.Copy(b.executable.AddAlias(doubled, DType::kF32, {flat}), y);
  for (int64_t length : {3, 1000, 0, 5, 5}) {
    const Array in = Random(DType::kF32, {length, 4});
    Array given = in, out(DType::kF32, {length * 4});
    b.executable.Configure({length});
    b.executable.Run({given.bytes.data(), out.bytes.data()}, nullptr);
    for (int64_t i = 0; i < out.size(); ++i) REQUIRE(out[i] == 2 * in[i]);
  }
}

TEST_CASE("executables of several threads run at once") {
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&wrong] {
      Builder b(3);
      const SizeRef n = b.Constant(5000);
      const int x = b.executable.AddExternal(DType::kF32, {n}), y = b.executable.AddExternal(DType::kF32, {n});
      b.Copy(b.Elementwise(TileOp::kMul, x, b.Elementwise(TileOp::kAdd, x, x, {n}), {n}), y);
      std::vector<float> in(5000), out(5000);
      for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i % 97);
      b.executable.Configure({});
      for (int round = 0; round < 100; ++round) {
        std::fill(out.begin(), out.end(), -1.0f);
        b.executable.Run({in.data(), out.data()}, nullptr);
        for (size_t i = 0; i < in.size(); ++i) wrong += out[i] != 2 * in[i] * in[i];
      }
    });
  }
  for (auto& caller : callers) caller.join();
  CHECK(wrong == 0);
}

TEST_CASE("a profile lists the calls in order") {
  Builder b;
  const SizeRef n = b.Constant(100);
  const int x = b.executable.AddExternal(DType::kF32, {n}), y = b.executable.AddExternal(DType::kF32, {n});
  b.Copy(b.Elementwise(TileOp::kAdd, x, x, {n}), y);
  std::vector<float> in(100, 1.0f), out(100);
  std::vector<CallProfile> calls;
  b.executable.Configure({});
  b.executable.Run({in.data(), out.data()}, &calls);
  REQUIRE(calls.size() == 2);
  CHECK(calls[0].call == 0);
  CHECK(calls[1].call == 1);
  CHECK(calls[1].start >= calls[0].start + calls[0].seconds);
  CHECK(b.executable.operand_bytes(0) == 3 * 400);
}

TEST_CASE("what makes no sense is an error, and the executable stays of use") {
  Builder b;
  const SizeRef n = b.Constant(4);
  const int x = b.executable.AddExternal(DType::kF32, {n});
  const Attributes copy({{"program", Program(1, 1, {}, {0})}});
  CHECK_THROWS_AS(b.executable.Run({nullptr}, nullptr), Error);  // no sizes yet
  CHECK_THROWS_AS(b.executable.AddCall("no such kernel", {}, {x}, {x}), Error);
  CHECK_THROWS_AS(b.executable.AddCall("elementwise", {}, {x}, {x}), Error);
  CHECK_THROWS_AS(b.executable.AddCall("elementwise", Attributes({{"program", int64_t{1}}}), {x}, {x}), Error);
  CHECK_THROWS_AS(b.executable.AddCall("linear", Attributes({{"weight", Program(1, 1, {}, {0})}}), {x}, {x}), Error);
  CHECK_THROWS_AS(b.executable.AddCall("elementwise", copy, {99}, {x}), Error);
  CHECK_THROWS_AS(b.executable.AddCall("elementwise", copy, {-2}, {x}), Error);
  CHECK_THROWS_AS(b.executable.AddConstant(DType::kF32, {n}, nullptr), Error);
  CHECK_THROWS_AS(b.executable.AddAlias(99, DType::kF32, {n}), Error);
  CHECK_THROWS_AS(b.executable.AddArena(DType::kF32, std::vector<SizeRef>(9, n)), Error);
  CHECK_THROWS_AS(b.executable.AddArena(DType::kF32, {SizeRef{1000}}), Error);
  CHECK_THROWS_AS(b.executable.AddArena(DType::kF32, {SizeRef{-1}}), Error);
  b.executable.AddCall("elementwise", copy, {x}, {b.executable.AddArena(DType::kF32, {n})});
  b.executable.Configure({});
  CHECK_THROWS_AS(b.executable.Run({}, nullptr), Error);
  std::vector<float> in(4);
  CHECK_NOTHROW(b.executable.Run({in.data()}, nullptr));

  auto refused = [&](auto&& add) {
    Builder other;
    add(other);
    CHECK_THROWS_AS(other.executable.Configure({}), Error);
  };
  refused([](Builder& o) { o.executable.AddArena(DType::kF32, {o.Constant(-1)}); });
  refused([](Builder& o) { o.executable.AddArena(DType::kF32, {o.Constant(int64_t{1} << 40), o.Constant(int64_t{1} << 40)}); });
  refused([](Builder& o) { o.executable.AddConstant(DType::kF32, {o.Constant(5)}, std::make_shared<Buffer>(16)); });
  refused([](Builder& o) {
    o.executable.AddAlias(o.executable.AddArena(DType::kF16, {o.Constant(4)}), DType::kF32, {o.Constant(4)});
  });
  refused([](Builder& o) {
    o.executable.AddAlias(o.executable.AddArena(DType::kF32, {o.Constant(4)}), DType::kF32, {o.Constant(3)});
  });
}

}  // namespace gristmill::test
