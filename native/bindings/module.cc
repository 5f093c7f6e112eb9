// The Python face of the native core. Everything here raises; nothing aborts.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <mutex>
#include <shared_mutex>

#include "bindings/direct.h"
#include "bindings/guarded.h"
#include "core/executable.h"
#include "core/expected.h"
#include "kernels/conv/winograd.h"
#include "kernels/elementwise/epilogue.h"
#include "kernels/gemm/decode.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/sparse.h"
#include "kernels/measure/peak.h"
#include "kernels/trees/forest.h"
#include "simd/isa.h"

namespace nb = nanobind;

namespace gristmill {
namespace {

using Bytes = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;

// Arrays of a run. Inputs may be read-only; only results are written to.
using Arrays = std::vector<Bytes>;

DType DTypeByName(const std::string& name) {
  static const std::map<std::string, DType> names = {
      {"fp16", DType::kF16},  {"fp32", DType::kF32}, {"int32", DType::kI32}, {"int16", DType::kI16},
      {"uint16", DType::kU16}, {"int8", DType::kI8},  {"uint8", DType::kU8},  {"bool", DType::kBool}};
  const auto found = names.find(name);
  if (found == names.end()) throw Error("the CPU engine has no element type '" + name + "'");
  return found->second;
}

std::vector<SizeRef> Sizes(const std::vector<int>& entries) {
  std::vector<SizeRef> sizes;
  for (int entry : entries) sizes.push_back({entry});
  return sizes;
}

// Python values by kind: bool and int, float, str, lists of them, Prepared; ("sizes", [entries]) for symbolic sizes.
Attribute AttributeOf(nb::handle value) {
  std::shared_ptr<Prepared> prepared;
  if (nb::try_cast(value, prepared)) return prepared;
  if (nb::isinstance<nb::bool_>(value)) return static_cast<int64_t>(nb::cast<bool>(value));
  if (nb::isinstance<nb::int_>(value)) return nb::cast<int64_t>(value);
  if (nb::isinstance<nb::float_>(value)) return nb::cast<double>(value);
  if (nb::isinstance<nb::str>(value)) return nb::cast<std::string>(value);
  if (nb::isinstance<nb::tuple>(value)) return Sizes(nb::cast<std::vector<int>>(value));
  std::vector<int64_t> integers;
  if (nb::try_cast(value, integers)) return integers;
  return nb::cast<std::vector<double>>(value);
}

Attributes AttributesOf(const nb::dict& values) {
  std::map<std::string, Attribute> attributes;
  for (auto [key, value] : values) attributes.emplace(nb::cast<std::string>(key), AttributeOf(value));
  return Attributes(std::move(attributes));
}

// An array's bytes: where they are, if they never change, are many, and lie as kernels need them; otherwise a copy.
std::shared_ptr<Buffer> BufferOf(const Bytes& array, bool constant) {
  constexpr size_t kMany = size_t{1} << 20, kPage = 4096;
  const auto begin = reinterpret_cast<uintptr_t>(array.data());
  const size_t rest = kPage - (begin + array.nbytes()) % kPage;  // of the page of its end, all of which may be read
  if (constant && array.nbytes() >= kMany && begin % kAlignment == 0 && rest >= kPadding && rest < kPage) {
    auto owner = std::make_shared<Bytes>(array);
    return std::make_shared<Buffer>(std::shared_ptr<void>(owner, const_cast<void*>(array.data())), array.nbytes());
  }
  auto buffer = std::make_shared<Buffer>(array.nbytes());
  if (array.nbytes() != 0) std::memcpy(buffer->as<char>(), array.data(), array.nbytes());
  return buffer;
}

// Checks that a matrix [outer·inner, n] lies within an array.
void RequireMatrix(const std::array<int64_t, 3>& sizes, const std::array<int64_t, 3>& strides, int64_t at, size_t elements) {
  int64_t last = at;
  bool empty = false;
  for (size_t i = 0; i < 3; ++i) {
    Require(sizes[i] >= 0 && strides[i] >= 0 && at >= 0, "sizes and strides are not negative");
    empty = empty || sizes[i] == 0;
    int64_t reach = 0;
    Require(!__builtin_mul_overflow(sizes[i] - 1, strides[i], &reach) && !__builtin_add_overflow(last, reach, &last),
            "a matrix is too large");
  }
  Require(empty || last < static_cast<int64_t>(elements), "the array is shorter than the matrix");
}

CodeSource CodesOf(const Bytes& codes, int bits, const std::array<int64_t, 3>& sizes, const std::array<int64_t, 3>& strides) {
  RequireMatrix(sizes, strides, 0, codes.nbytes());
  Require(sizes[0] > 0 && sizes[1] > 0 && sizes[2] > 0, "a compressed matrix is not empty");
  return {bits, static_cast<const uint8_t*>(codes.data()), sizes[0], sizes[1], sizes[2], strides[0], strides[1], strides[2]};
}

// An executable with the arrays of a run that is repeated; no sizes of it depend on symbols.
struct Bound {
  std::shared_ptr<Guarded> guarded;
  Arrays arrays;
  std::vector<void*> pointers;

  void Run() {
    nb::gil_scoped_release release;
    const Turn turn(*guarded);
    guarded->executable.Configure({});
    guarded->executable.Run(pointers, nullptr);
  }
};

// Arrays with elements of one type.
template <typename T, int kRank>
using Dense = nb::ndarray<const T, nb::ndim<kRank>, nb::c_contig, nb::device::cpu>;

template <typename T>
std::vector<T> Elements(const Dense<T, 1>& array) {
  return {array.data(), array.data() + array.size()};
}

std::shared_ptr<Forest> ForestOf(const Dense<double, 1>& threshold, const Dense<uint32_t, 1>& feature,
                                 const Dense<bool, 1>& equal, const Dense<bool, 1>& missing_is_second,
                                 const Dense<int32_t, 1>& first, const Dense<int32_t, 1>& roots,
                                 const Dense<int64_t, 1>& begins, const Dense<double, 1>& values,
                                 const Dense<int64_t, 1>& dimensions, int64_t width) {
  const size_t count = threshold.size();
  for (size_t size : {feature.size(), first.size(), equal.size(), missing_is_second.size()})
    Require(size == count, "each node has all of its properties");
  Require(values.size() == dimensions.size(), "leaf values have a dimension each");
  std::vector<Branch> branches(count);
  for (size_t i = 0; i < count; ++i)
    branches[i] = {threshold.data()[i], feature.data()[i], first.data()[i], equal.data()[i], missing_is_second.data()[i]};
  std::vector<LeafValue> leaves(values.size());
  for (size_t i = 0; i < leaves.size(); ++i) leaves[i] = {values.data()[i], dimensions.data()[i]};
  return std::make_shared<Forest>(branches, Elements(roots), Elements(begins), leaves, width);
}

std::vector<void*> Pointers(const Arrays& arrays) {
  std::vector<void*> pointers;
  for (const auto& array : arrays) pointers.push_back(const_cast<void*>(array.data()));
  return pointers;
}

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "The CPU engine's native core.";
  ChooseIsa();

  // The second is a kind of the first: whoever translates errors asks it first.
  const nb::object error = nb::exception<Error>(m, "NativeError", PyExc_RuntimeError);
  nb::exception<FileError>(m, "FileError", error.ptr());

  m.def("isa", &IsaName, "Name of the instruction set in use.");
  m.def("isas", &SupportedIsas, "Names of the instruction sets that this build has and this machine can run.");
  m.def("default_threads", &DefaultThreads, "Number of threads that executables use unless told otherwise.");
  m.def("peak_flops", &PeakFlops, nb::arg("threads"), nb::call_guard<nb::gil_scoped_release>(),
        "Float32 multiply-adds per second, two operations each, measured now.");
  m.def("peak_bytes", &PeakBytes, nb::arg("threads"), nb::call_guard<nb::gil_scoped_release>(),
        "Bytes read from memory per second, measured now.");
  nb::class_<Prepared>(m, "Prepared").def_prop_ro("nbytes", &Prepared::bytes, "Bytes that it holds.");
  nb::class_<Buffer>(m, "Buffer").def_prop_ro("nbytes", &Buffer::capacity, "Bytes that it holds.");

  m.attr("THIN_ROWS") = kThinRows;

  m.def("buffer", &BufferOf, nb::arg("array"), nb::arg("constant") = false,
        "An array's bytes: a copy, unless the array is large and its contents never change.");

  m.def(
      "pack_matrix",
      [](const std::string& dtype, Bytes array, std::array<int64_t, 3> sizes, std::array<int64_t, 3> strides, int64_t at) {
        const DType type = DTypeByName(dtype);
        RequireMatrix(sizes, strides, at, array.nbytes() / SizeOf(type));
        nb::gil_scoped_release release;
        const char* data = static_cast<const char*>(array.data()) + at * static_cast<int64_t>(SizeOf(type));
        return std::static_pointer_cast<Prepared>(
            PackMatrix({type, data, sizes[0], sizes[1], sizes[2], strides[0], strides[1], strides[2]}));
      },
      nb::arg("dtype"), nb::arg("array"), nb::arg("sizes"), nb::arg("strides"), nb::arg("at") = 0,
      "Packs a matrix [outer·inner, n]: sizes and strides of outer, inner and n, from element `at` on.");

  nb::class_<Expected>(m, "Expected")
      .def(nb::init<int, int64_t, bool, int64_t>(), nb::arg("descriptor"), nb::arg("size"), nb::arg("mapped"), nb::arg("fresh"),
           nb::call_guard<nb::gil_scoped_release>(),
           "A weight file that a program is about to use: memory is made ready for it in the background meanwhile.");

  // What is read from files is there when an executable first needs it.
  m.def(
      "pack_file_matrix",
      [](const std::string& dtype, const std::string& name, int descriptor, int64_t start, bool mapped, int64_t count,
         std::array<int64_t, 3> sizes, std::array<int64_t, 3> strides, int64_t at, bool stays) {
        const DType type = DTypeByName(dtype);
        Require(descriptor >= 0 && start >= 0 && count >= 0, "a range of an open file");
        RequireMatrix(sizes, strides, at, static_cast<size_t>(count));
        nb::gil_scoped_release release;
        const auto size = static_cast<int64_t>(SizeOf(type));
        Require(count < int64_t{1} << 60, "the size of a weight");
        const FileRange file{descriptor, start + at * size, (count - at) * size, mapped};
        return std::static_pointer_cast<Prepared>(
            PackMatrix({type, nullptr, sizes[0], sizes[1], sizes[2], strides[0], strides[1], strides[2]}, file, name, stays));
      },
      nb::arg("dtype"), nb::arg("name"), nb::arg("descriptor"), nb::arg("start"), nb::arg("mapped"), nb::arg("count"),
      nb::arg("sizes"), nb::arg("strides"), nb::arg("at"), nb::arg("stays"),
      "As pack_matrix, of `count` elements at a byte of an open file; in the background, later if it stays.");

  m.def(
      "file_buffer",
      [](const std::string& name, int descriptor, int64_t start, bool mapped, int64_t bytes) {
        Require(descriptor >= 0 && start >= 0 && bytes >= 0, "a range of an open file");
        nb::gil_scoped_release release;
        return FileBuffer(FileRange(descriptor, start, bytes, mapped), bytes, name);
      },
      nb::arg("name"), nb::arg("descriptor"), nb::arg("start"), nb::arg("mapped"), nb::arg("bytes"),
      "Bytes of an open file: mapped, or read in the background.");

  m.def(
      "compress_sparse",
      [](const std::string& dtype, Bytes array, std::array<int64_t, 3> sizes, std::array<int64_t, 3> strides) {
        const DType type = DTypeByName(dtype);
        RequireMatrix(sizes, strides, 0, array.nbytes() / SizeOf(type));
        Require(sizes[0] > 0 && sizes[1] > 0 && sizes[2] > 0, "a compressed matrix is not empty");
        nb::gil_scoped_release release;
        return std::static_pointer_cast<Prepared>(
            CompressSparse({type, array.data(), sizes[0], sizes[1], sizes[2], strides[0], strides[1], strides[2]}));
      },
      nb::arg("dtype"), nb::arg("array"), nb::arg("sizes"), nb::arg("strides"),
      "Packs the elements of a matrix that are not zero.");

  m.def(
      "compress_affine",
      [](Bytes codes, int bits, std::array<int64_t, 3> sizes, std::array<int64_t, 3> strides, const std::string& dtype,
         Bytes scale, std::optional<Bytes> zero_point, double zero, int64_t block, bool half, bool rounded, const std::string& name) {
        const CodeSource source = CodesOf(codes, bits, sizes, strides);
        const DType type = DTypeByName(dtype);
        Require(block > 0 && source.k() % block == 0, "blocks divide the rows of a matrix");
        const size_t needed = static_cast<size_t>(source.k() / block * source.n) * SizeOf(type);
        Require(scale.nbytes() >= needed && (!zero_point || zero_point->nbytes() >= needed), "a scale for each block");
        nb::gil_scoped_release release;
        const AffineMeaning meaning = {type, scale.data(), zero_point ? zero_point->data() : nullptr,
                                       static_cast<float>(zero), block, half, rounded};
        return std::static_pointer_cast<Prepared>(CompressAffine(source, meaning, name));
      },
      nb::arg("codes"), nb::arg("bits"), nb::arg("sizes"), nb::arg("strides"), nb::arg("dtype"), nb::arg("scale"),
      nb::arg("zero_point").none(), nb::arg("zero"), nb::arg("block"), nb::arg("half"), nb::arg("rounded"),
      nb::arg("name"),
      "Packs codes, one a byte, that stand for scale·(code - zero_point), or zero for None; rows are [k / block, n].");

  m.def(
      "compress_table",
      [](Bytes codes, int bits, std::array<int64_t, 3> sizes, std::array<int64_t, 3> strides, Bytes entries, int64_t tables) {
        const CodeSource source = CodesOf(codes, bits, sizes, strides);
        Require(bits >= 1 && bits <= 8 && tables > 0 && tables <= source.n &&
                    entries.nbytes() >= sizeof(float) * (static_cast<size_t>(tables) << bits),
                "a table for each group of columns");
        nb::gil_scoped_release release;
        return std::static_pointer_cast<Prepared>(
            CompressTable(source, {static_cast<const float*>(entries.data()), tables}));
      },
      nb::arg("codes"), nb::arg("bits"), nb::arg("sizes"), nb::arg("strides"), nb::arg("entries"), nb::arg("tables"),
      "Packs a matrix of codes, one a byte, that stand for entries of float32 tables, one for each group of columns.");

  m.def(
      "transform_weight",
      [](Bytes array, int64_t made, int64_t channels, int64_t tile) {
        int64_t count = 0;
        Require(made > 0 && channels > 0 && !__builtin_mul_overflow(made, channels, &count) &&
                    !__builtin_mul_overflow(count, 9 * 2, &count) && count <= static_cast<int64_t>(array.nbytes()),
                "the array is shorter than the weight");
        nb::gil_scoped_release release;
        return std::static_pointer_cast<Prepared>(TransformWeight(array.data(), made, channels, tile));
      },
      nb::arg("array"), nb::arg("made"), nb::arg("channels"), nb::arg("tile"),
      "Transforms a float16 weight [made, channels, 3, 3] for Winograd's filters with tiles of 2 or 4.");

  m.def(
      "transform_file_weight",
      [](const std::string& name, int descriptor, int64_t start, bool mapped, int64_t made, int64_t channels, int64_t tile) {
        int64_t count = 0;
        Require(descriptor >= 0 && start >= 0, "a range of an open file");
        Require(made > 0 && channels > 0 && !__builtin_mul_overflow(made, channels, &count) && count < int64_t{1} << 40,
                "the sizes of a weight");
        nb::gil_scoped_release release;
        const FileRange file(descriptor, start, 9 * count * static_cast<int64_t>(SizeOf(DType::kF16)), mapped);
        return std::static_pointer_cast<Prepared>(TransformWeight(file, made, channels, tile, name));
      },
      nb::arg("name"), nb::arg("descriptor"), nb::arg("start"), nb::arg("mapped"), nb::arg("made"), nb::arg("channels"), nb::arg("tile"),
      "As transform_weight, of elements that begin at a byte of an open file; in the background.");

  m.def(
      "prepared_list",
      [](std::vector<std::shared_ptr<Prepared>> items) {
        auto list = std::make_shared<PreparedList>();
        for (const auto& item : items) Require(item != nullptr, "a list holds no None");
        list->items = std::move(items);
        return std::static_pointer_cast<Prepared>(list);
      },
      nb::arg("items"), "Several prepared things as one.");

  m.def(
      "tile_program",
      [](int inputs, int registers, const std::vector<std::tuple<std::string, int, int, int, int, double, double>>& steps,
         const std::vector<int>& outputs) {
        auto program = std::make_shared<TileProgram>();
        program->inputs = inputs;
        program->registers = registers;
        for (const auto& [op, to, x, y, z, p, q] : steps) {
          for (int r : {to, x, y, z}) Require(r >= 0 && r < static_cast<int>(kMaxRegisters), "no such register");
          TileStep step{TileOpByName(op), static_cast<uint8_t>(to), static_cast<uint8_t>(x), static_cast<uint8_t>(y),
                        static_cast<uint8_t>(z), static_cast<float>(p), static_cast<float>(q)};
          if (step.op == TileOp::kConstantInt) {
            const int32_t bits = static_cast<int32_t>(static_cast<int64_t>(p));
            std::memcpy(&step.p, &bits, 4);
          }
          program->steps.push_back(step);
        }
        program->outputs = outputs;
        program->Check();
        return std::static_pointer_cast<Prepared>(program);
      },
      nb::arg("inputs"), nb::arg("registers"), nb::arg("steps"), nb::arg("outputs"),
      "Makes an element-wise program of steps (op, to, x, y, z, p, q).");

  nb::class_<Forest>(m, "Forest")
      .def(nb::new_(&ForestOf), nb::arg("threshold"), nb::arg("feature"), nb::arg("equal"),
           nb::arg("missing_is_second"), nb::arg("first"), nb::arg("roots"), nb::arg("begins"), nb::arg("values"),
           nb::arg("dimensions"), nb::arg("width"))
      .def_prop_ro("features", &Forest::features, "How many features branches ask for.")
      .def("add_sums",
           [](const Forest& forest, const Dense<double, 2>& x, nb::ndarray<double, nb::ndim<2>, nb::c_contig> sums,
              int threads) {
             Require(sums.shape(0) == x.shape(0) && static_cast<int64_t>(sums.shape(1)) == forest.dimensions(),
                     "sums for each row");
             nb::gil_scoped_release release;
             const std::shared_lock<std::shared_mutex> running(Running());
             forest.AddSums(x.data(), static_cast<int64_t>(x.shape(0)), static_cast<int64_t>(x.shape(1)), sums.data(),
                            threads);
           },
           nb::arg("x"), nb::arg("sums"), nb::arg("threads"), "Adds what rows' leaves hold to sums.");

  nb::class_<Bound>(m, "Bound").def("__call__", &Bound::Run, "Runs on the bound arrays.");

  BindDirect(m);

  nb::class_<Guarded>(m, "Executable")
      .def(nb::new_([](int threads) { return std::make_shared<Guarded>(threads); }), nb::arg("threads"))
      .def("bind", [](std::shared_ptr<Guarded> g, Arrays externals) {
             std::vector<void*> pointers = Pointers(externals);
             return Bound{std::move(g), std::move(externals), std::move(pointers)};
           }, nb::arg("externals"), "A run of these arrays, to be repeated.")
      .def("size",
           [](Guarded& g, const std::vector<std::pair<int, int64_t>>& steps) {
             std::vector<SizeTable::Step> made;
             for (auto [op, value] : steps) {
               Require(op >= 0 && op <= static_cast<int>(SizeTable::Op::kEntry), "no such operation on sizes");
               made.push_back({static_cast<SizeTable::Op>(op), value});
             }
             return g.executable.sizes().Add(std::move(made));
           },
           nb::arg("steps"), "Adds a size expression in postfix form and returns its number.")
      .def("arena", [](Guarded& g, const std::string& t, const std::vector<int>& s) {
             return g.executable.AddArena(DTypeByName(t), Sizes(s));
           }, nb::arg("dtype"), nb::arg("shape"))
      .def("external", [](Guarded& g, const std::string& t, const std::vector<int>& s) {
             return g.executable.AddExternal(DTypeByName(t), Sizes(s));
           }, nb::arg("dtype"), nb::arg("shape"))
      .def("constant", [](Guarded& g, const std::string& t, const std::vector<int>& s, std::shared_ptr<Buffer> data) {
             return g.executable.AddConstant(DTypeByName(t), Sizes(s), std::move(data));
           }, nb::arg("dtype"), nb::arg("shape"), nb::arg("data"))
      .def("alias", [](Guarded& g, int of, const std::string& t, const std::vector<int>& s, std::optional<int> start) {
             std::optional<SizeRef> from;
             if (start) from = SizeRef{*start};
             return g.executable.AddAlias(of, DTypeByName(t), Sizes(s), from);
           }, nb::arg("of"), nb::arg("dtype"), nb::arg("shape"), nb::arg("start") = nb::none())
      .def("call",
           [](Guarded& g, const std::string& kernel, const nb::dict& attributes, std::vector<int> inputs,
              std::vector<int> outputs) {
             return g.executable.AddCall(kernel, AttributesOf(attributes), std::move(inputs), std::move(outputs));
           },
           nb::arg("kernel"), nb::arg("attributes"), nb::arg("inputs"), nb::arg("outputs"))
      .def("run",
           [](Guarded& g, const std::vector<int64_t>& symbols,
              const Arrays& externals) {
             const std::vector<void*> pointers = Pointers(externals);
             nb::gil_scoped_release release;
             const Turn turn(g);
             g.executable.Configure(symbols);
             g.executable.Run(pointers, nullptr);
           }, nb::arg("symbols"), nb::arg("externals"))
      .def("configured",
           [](Guarded& g) {
             std::lock_guard<std::mutex> lock(g.mutex);
             return nb::make_tuple(g.executable.configurations(), g.executable.configure_seconds(),
                                   g.executable.working_bytes());
           },
           "How often there were new sizes, the seconds that making ready for them took, and bytes of working memory.")
      .def("undo",
           [](Guarded& g, const std::vector<int64_t>& symbols, const Arrays& externals) {
             const std::vector<void*> pointers = Pointers(externals);
             nb::gil_scoped_release release;
             const Turn turn(g);
             g.executable.Configure(symbols);
             g.executable.Undo(pointers);
           }, nb::arg("symbols"), nb::arg("externals"), "Takes back what a run of these arrays wrote in place.")
      .def("profile",
           [](Guarded& g, const std::vector<int64_t>& symbols,
              const Arrays& externals) {
             const std::vector<void*> pointers = Pointers(externals);
             std::vector<CallProfile> calls;
             {
               nb::gil_scoped_release release;
               const Turn turn(g);
               g.executable.Configure(symbols);
               g.executable.Run(pointers, &calls);
             }
             nb::list rows;
             for (const CallProfile& call : calls) {
               const Kernel& kernel = g.executable.kernel(call.call);
               rows.append(nb::make_tuple(call.call, call.start, call.seconds, kernel.flops(), kernel.constant_bytes(),
                                          g.executable.operand_bytes(call.call), kernel.variant()));
             }
             return rows;
           }, nb::arg("symbols"), nb::arg("externals"),
           "Runs once; for each call (number, start, seconds, flops, bytes of constants, of operands, variant).");
}

}  // namespace gristmill
