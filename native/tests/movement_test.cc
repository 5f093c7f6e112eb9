// Data movement, against loops over every element; indices that come at run time and are out of range.
#include "support.h"

namespace gristmill::test {
namespace {

Array Counting(DType dtype, Sizes shape) {
  Array made(dtype, std::move(shape));
  for (int64_t i = 0; i < made.size(); ++i) made.Set(i, static_cast<double>(i % 251));
  return made;
}

// The flat place of an element, by its index on every axis.
int64_t Flat(const Sizes& shape, const Sizes& index) {
  int64_t flat = 0;
  for (size_t axis = 0; axis < shape.size(); ++axis) flat = flat * shape[axis] + index[axis];
  return flat;
}

Sizes IndexOf(const Sizes& shape, int64_t flat) {
  Sizes index(shape.size());
  for (size_t axis = shape.size(); axis-- > 0; flat /= shape[axis]) index[axis] = flat % shape[axis];
  return index;
}

Call Indexed(const char* kernel, int64_t axis, bool negative, bool forgives) {
  return {kernel, {{"axis", axis}, {"negative", int64_t{negative}}, {"forgives", int64_t{forgives}}, {"mode", std::string("update")}}, {}};
}

}  // namespace

TEST_CASE("views permute, slice and repeat elements of every size") {
  struct Slice {
    Sizes from, perm, begin, step, to;
  };
  for (const Slice& s : std::initializer_list<Slice>{
           {{}, {}, {}, {}, {}},
           {{5, 7}, {1, 0}, {0, 0}, {1, 1}, {7, 5}},
           {{3, 40, 5, 37}, {0, 2, 3, 1}, {0, 0, 0, 0}, {1, 1, 1, 1}, {3, 5, 37, 40}},
           {{3, 40, 5, 37}, {3, 1, 0, 2}, {2, 39, 0, 1}, {-1, -3, 2, 4}, {9, 13, 3, 3}},
           {{2, 1, 70}, {0, 1, 2}, {0, 0, 3}, {1, 1, 2}, {2, 6, 30}},
           {{1, 1}, {0, 1}, {0, 0}, {1, 1}, {33, 65}},
           {{200, 300}, {1, 0}, {0, 0}, {1, 1}, {300, 200}},
           {{203, 309}, {1, 0}, {1, 2}, {1, 1}, {307, 202}},  // parts of squares at both borders
           {{300, 400}, {0, 1}, {0, 150}, {1, 1}, {300, 250}},  // runs of rows
           {{4, 4}, {0, 1}, {0, 0}, {1, 1}, {0, 4}}}) {
    for (DType dtype : {DType::kU8, DType::kF16, DType::kF32}) {
      const Array x = Counting(dtype, s.from);
      const Call call{"view", {{"perm", s.perm}, {"step", s.step}}, {{"begin", s.begin}}};
      const Array got = Run1(call, {x}, dtype, s.to);
      for (int64_t flat = 0; flat < got.size(); ++flat) {
        const Sizes to = IndexOf(s.to, flat);
        Sizes from(s.from.size());
        for (size_t k = 0; k < to.size(); ++k) {
          const size_t axis = static_cast<size_t>(s.perm[k]);
          from[axis] = s.begin[axis] + (s.from[axis] == 1 ? 0 : s.step[axis] * to[k]);
        }
        REQUIRE(got[flat] == x[Flat(s.from, from)]);
      }
    }
  }
}

TEST_CASE("joined tensors lie one behind the other") {
  for (int64_t axis : {0, 1, 2}) {
    std::vector<Array> parts;
    Sizes to = {3, 4, 5};
    to[static_cast<size_t>(axis)] = 0;
    for (int64_t size : {2, 0, 7}) {
      Sizes shape = {3, 4, 5};
      shape[static_cast<size_t>(axis)] = size;
      to[static_cast<size_t>(axis)] += size;
      parts.push_back(Random(DType::kF16, shape));
    }
    const Array got = Run1({"concat", {{"axis", axis}}, {}}, parts, DType::kF16, to);
    for (int64_t flat = 0; flat < got.size(); ++flat) {
      Sizes index = IndexOf(to, flat);
      int64_t& along = index[static_cast<size_t>(axis)];
      size_t part = 0;
      for (; along >= parts[part].shape[static_cast<size_t>(axis)]; ++part) along -= parts[part].shape[static_cast<size_t>(axis)];
      REQUIRE(got[flat] == parts[part][Flat(parts[part].shape, index)]);
    }
  }
}

TEST_CASE("slices are gathered and written at indices") {
  for (DType type : {DType::kI32, DType::kI16, DType::kI8}) {
    const Array x = Counting(DType::kF32, {2, 5, 3}), indices = Of(type, {4}, {4, -1, 0, 4});
    const Array got = Run1(Indexed("gather", 1, true, false), {x, indices}, DType::kF32, {2, 4, 3});
    const int64_t places[] = {4, 4, 0, 4};
    for (int64_t flat = 0; flat < got.size(); ++flat) {
      Sizes index = IndexOf(got.shape, flat);
      index[1] = places[index[1]];
      REQUIRE(got[flat] == x[Flat(x.shape, index)]);
    }
    const Array updates = Random(DType::kF32, {2, 4, 3});
    const Array written = Run1(Indexed("scatter", 1, true, false), {x, indices, updates}, DType::kF32, x.shape);
    for (int64_t flat = 0; flat < written.size(); ++flat) {
      Sizes index = IndexOf(x.shape, flat);
      double wanted = x[flat];
      for (int64_t i = 0; i < 4; ++i) {
        if (places[i] == index[1]) wanted = updates[Flat(updates.shape, {index[0], i, index[2]})];
      }
      REQUIRE(written[flat] == wanted);
    }
  }
}

TEST_CASE("an index out of range is an error, or is forgiven, and never a wild access") {
  const Array x = Counting(DType::kF32, {1, 5, 3}), updates = Random(DType::kF32, {1, 2, 3});
  for (double bad : {5.0, -6.0, 2147483647.0, -2147483648.0}) {
    const Array indices = Of(DType::kI32, {2}, {1, bad});
    CHECK_THROWS_WITH_AS(Run(Indexed("gather", 1, true, false), {x, indices}, {Array(DType::kF32, {1, 2, 3})}),
                         doctest::Contains("out of range"), Error);
    CHECK_THROWS_WITH_AS(Run(Indexed("scatter", 1, true, false), {x, indices, updates}, {x}),
                         doctest::Contains("out of range"), Error);
    const Array held = Run1(Indexed("gather", 1, true, true), {x, indices}, DType::kF32, {1, 2, 3});
    for (int64_t i = 0; i < 3; ++i) CHECK(held[3 + i] == x[(bad > 0 ? 12 : 0) + i]);
    const Array kept = Run1(Indexed("scatter", 1, true, true), {x, indices, updates}, DType::kF32, x.shape);
    for (int64_t i = 0; i < 15; ++i) CHECK(kept[i] == (i / 3 == 1 ? updates[i - 3] : x[i]));
  }
  // Validated indices are not negative; a tensor without elements has nothing to hold an index at.
  CHECK_THROWS_AS(Run(Indexed("gather", 1, false, false), {x, Of(DType::kI32, {1}, {-1})}, {Array(DType::kF32, {1, 1, 3})}), Error);
  CHECK_THROWS_AS(Run(Indexed("gather", 0, true, true), {Array(DType::kF32, {0, 3}), Of(DType::kI32, {1}, {0})},
                      {Array(DType::kF32, {1, 3})}),
                  Error);
}

TEST_CASE("an executable runs again after a failure") {
  Executable executable(3);
  auto size = [&](int64_t value) { return SizeRef{executable.sizes().Add({{SizeTable::Op::kConstant, value}})}; };
  const int x = executable.AddExternal(DType::kF32, {size(4)}), i = executable.AddExternal(DType::kI32, {size(3)});
  const int y = executable.AddExternal(DType::kF32, {size(3)});
  executable.AddCall("gather", Attributes(Indexed("gather", 0, true, false).attributes), {x, i}, {y});
  executable.Configure({});
  float values[] = {1, 2, 3, 4}, got[3];
  int32_t bad[] = {0, 9, 1}, good[] = {3, 0, -2};
  for (int round = 0; round < 3; ++round) {
    CHECK_THROWS_AS(executable.Run({values, bad, got}, nullptr), Error);
    executable.Run({values, good, got}, nullptr);
    CHECK(got[0] == 4);
    CHECK(got[1] == 1);
    CHECK(got[2] == 3);
  }
}

TEST_CASE("an update replaces one slice") {
  const Array x = Counting(DType::kF16, {4, 6, 5});
  for (const Sizes& step : {Sizes{1, 1, 1}, Sizes{2, -2, 3}, Sizes{-1, 1, -1}}) {
    const Array part = Random(DType::kF16, {2, 3, 2});
    Sizes begin(3);
    for (size_t axis = 0; axis < 3; ++axis) begin[axis] = step[axis] < 0 ? x.shape[axis] - 1 : 0;
    const Array got = Run1({"update", {{"step", step}}, {{"begin", begin}}}, {x, part}, DType::kF16, x.shape);
    Array wanted = x;
    for (int64_t flat = 0; flat < part.size(); ++flat) {
      Sizes index = IndexOf(part.shape, flat);
      for (size_t axis = 0; axis < 3; ++axis) index[axis] = begin[axis] + step[axis] * index[axis];
      wanted.Set(Flat(x.shape, index), part[flat]);
    }
    CHECK(got.bytes == wanted.bytes);
  }
}

TEST_CASE("moves that do not fit are errors") {
  const Array x(DType::kF32, {3, 4});
  auto view = [&](Sizes perm, Sizes begin, Sizes step, Sizes to) {
    CHECK_THROWS_AS(Run({"view", {{"perm", perm}, {"step", step}}, {{"begin", begin}}}, {x}, {Array(DType::kF32, to)}), Error);
  };
  view({0, 0}, {0, 0}, {1, 1}, {3, 4});
  view({0, 2}, {0, 0}, {1, 1}, {3, 4});
  view({0, -1}, {0, 0}, {1, 1}, {3, 4});
  view({0}, {0, 0}, {1, 1}, {3});
  view({0, 1}, {1, 0}, {1, 1}, {3, 4});
  view({0, 1}, {0, 0}, {1, 2}, {3, 4});
  view({0, 1}, {0, -1}, {1, 1}, {3, 4});
  view({0, 1}, {0, 0}, {1, -1}, {3, 4});
  view({0, 1}, {0}, {1, 1}, {3, 4});
  CHECK_THROWS_AS(Run({"concat", {{"axis", int64_t{2}}}, {}}, {x, x}, {Array(DType::kF32, {3, 8})}), Error);
  CHECK_THROWS_AS(Run({"concat", {{"axis", int64_t{-1}}}, {}}, {x, x}, {Array(DType::kF32, {3, 8})}), Error);
  CHECK_THROWS_AS(Run({"concat", {{"axis", int64_t{1}}}, {}}, {x, x}, {Array(DType::kF32, {3, 9})}), Error);
  CHECK_THROWS_AS(Run({"concat", {{"axis", int64_t{0}}}, {}}, {x, x}, {Array(DType::kF16, {6, 4})}), Error);
  CHECK_THROWS_AS(Run(Indexed("gather", 5, true, true), {x, Array(DType::kI32, {1})}, {x}), Error);
  Call batched = Indexed("gather", 1, true, true);
  batched.attributes["batch"] = int64_t{1};
  CHECK_THROWS_AS(Run(batched, {Array(DType::kF32, {2, 4}), Array(DType::kI32, {4, 3})}, {Array(DType::kF32, {4, 3})}), Error);
  CHECK_THROWS_AS(Run(Indexed("gather", 0, true, true), {x, Array(DType::kF32, {1})}, {Array(DType::kF32, {1, 4})}), Error);
  CHECK_THROWS_AS(Run(Indexed("gather", 0, true, true), {x, Array(DType::kI32, {2})}, {Array(DType::kF32, {1, 4})}), Error);
  auto update = [&](Sizes begin, Sizes step, Sizes part) {
    CHECK_THROWS_AS(Run({"update", {{"step", step}}, {{"begin", begin}}}, {x, Array(DType::kF32, part)}, {x}), Error);
  };
  update({0, 0}, {1, 1}, {4, 4});
  update({1, 0}, {1, 1}, {3, 4});
  update({0, 0}, {-1, 1}, {2, 4});
  update({0}, {1}, {3, 4});
}

}  // namespace gristmill::test
