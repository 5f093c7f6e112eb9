#include "bindings/direct.h"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "bindings/guarded.h"
#include "kernels/elementwise/tile_program.h"

namespace nb = nanobind;

namespace gristmill {
namespace {

// An array's name, element type and shape, and which of the executable's arrays it is: -1 for one that nothing reads.
using Described = std::tuple<nb::str, nb::object, nb::tuple, int>;

// What an input or an output must be.
struct Slot {
  explicit Slot(const Described& described)
      : name(std::get<0>(described)), dtype(std::get<1>(described)), shape(std::get<2>(described)),
        format(nb::cast<std::string>(dtype.attr("char"))), place(std::get<3>(described)) {
    for (nb::handle size : shape) sizes.push_back(nb::cast<Py_ssize_t>(size));
  }

  // Whether a buffer has an element type, in the machine's order of bytes, and this shape.
  bool Fits(const Py_buffer& view, const std::string& type) const {
    return view.format != nullptr && type == view.format && view.ndim == static_cast<int>(sizes.size()) &&
           std::equal(sizes.begin(), sizes.end(), view.shape);
  }
  bool Fits(const Py_buffer& view) const { return Fits(view, format); }
  // Whether it is to be rounded: float32 for float16.
  bool FitsRounded(const Py_buffer& view) const { return format == "e" && Fits(view, "f"); }

  nb::str name;
  nb::object dtype;
  nb::tuple shape;
  std::string format;
  std::vector<Py_ssize_t> sizes;
  int place;
};

// Memory of Python objects, and these themselves, held while a prediction uses it.
class Views {
 public:
  explicit Views(size_t most) { views_.reserve(most); }
  Views(const Views&) = delete;
  Views& operator=(const Views&) = delete;
  ~Views() {
    for (Py_buffer& view : views_) PyBuffer_Release(&view);
  }

  // Null, without a Python error, where an object shows no such memory.
  const Py_buffer* Add(PyObject* object, int flags) {
    Py_buffer view;
    if (PyObject_GetBuffer(object, &view, flags) != 0) {
      PyErr_Clear();
      return nullptr;
    }
    views_.push_back(view);
    return &views_.back();
  }

 private:
  std::vector<Py_buffer> views_;
};

// An executable with what its arrays must be. What a prediction asks about them is asked here, because calls between
// Python and native code would take longer than the arithmetic of a small model.
class Direct {
 public:
  Direct(std::shared_ptr<Guarded> guarded, int arrays, const std::vector<Described>& inputs,
         const std::vector<Described>& outputs, nb::type_object array, nb::object empty)
      : guarded_(std::move(guarded)), inputs_(inputs.begin(), inputs.end()), outputs_(outputs.begin(), outputs.end()),
        array_(std::move(array)), empty_(std::move(empty)), arrays_(static_cast<size_t>(arrays)) {
    for (const Slot& slot : inputs_) Require(slot.place < arrays, "no such array of the executable");
    for (const Slot& slot : outputs_) Require(slot.place >= 0 && slot.place < arrays, "no such array of the executable");
  }

  nb::object Run(nb::dict data) const {
    if (data.size() != inputs_.size()) return nb::none();
    std::vector<void*> pointers(arrays_);
    Views views(inputs_.size() + outputs_.size());
    std::vector<Buffer> rounded;
    for (const Slot& slot : inputs_) {
      PyObject* given = PyDict_GetItemWithError(data.ptr(), slot.name.ptr());
      if (given == nullptr && PyErr_Occurred()) throw nb::python_error();
      if (given == nullptr || Py_TYPE(given) != reinterpret_cast<PyTypeObject*>(array_.ptr())) return nb::none();
      const Py_buffer* view = views.Add(given, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS);
      if (view == nullptr || !(slot.Fits(*view) || slot.FitsRounded(*view))) return nb::none();
      if (slot.place < 0) continue;
      pointers[static_cast<size_t>(slot.place)] = slot.Fits(*view) ? view->buf : Rounded(*view, rounded);
    }
    nb::dict found;
    for (const Slot& slot : outputs_) {
      const nb::object made = empty_(slot.shape, slot.dtype);
      const Py_buffer* view = views.Add(made.ptr(), PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE);
      Require(view != nullptr && slot.Fits(*view), "an output is not what it was made to be");
      pointers[static_cast<size_t>(slot.place)] = view->buf;
      found[slot.name] = made;
    }
    {
      const nb::gil_scoped_release release;
      const Turn turn(*guarded_);
      guarded_->executable.Configure({});
      guarded_->executable.Run(pointers, nullptr);
    }
    return found;
  }

 private:
  static void* Rounded(const Py_buffer& view, std::vector<Buffer>& to) {
    const size_t count = static_cast<size_t>(view.len) / sizeof(float);
    to.emplace_back(count * SizeOf(DType::kF16));
    StoreTile(DType::kF16, static_cast<const float*>(view.buf), to.back().as<char>(), count);
    return to.back().as<char>();
  }

  std::shared_ptr<Guarded> guarded_;
  std::vector<Slot> inputs_, outputs_;
  nb::type_object array_;
  nb::object empty_;
  size_t arrays_;
};

}  // namespace

void BindDirect(nb::module_& m) {
  nb::class_<Direct>(m, "Direct")
      .def(nb::init<std::shared_ptr<Guarded>, int, const std::vector<Described>&, const std::vector<Described>&,
                    nb::type_object, nb::object>(),
           nb::sig("def __init__(self, executable: Executable, arrays: int, "
                   "inputs: Sequence[tuple[str, object, tuple[int, ...], int]], "
                   "outputs: Sequence[tuple[str, object, tuple[int, ...], int]], array: type, empty: object) -> None"),
           "Inputs and outputs are (name, element type, shape, place among so many arrays); NumPy's array and empty.")
      .def("__call__", &Direct::Run, nb::sig("def __call__(self, data: dict[str, Any]) -> dict[str, NDArray[Any]] | None"),
           "Runs, unless an input is not a contiguous array as described, or float32 for float16: then returns None.");
}

}  // namespace gristmill
