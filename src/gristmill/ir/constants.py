"""Constants: typed contents that are read only when somebody needs the numbers.

A constant's tensor data is an expression over a *source* (an array, a slice of a weight file, a source framework's own
storage): a cast, a transposition, a decoding. The writer and the kernels' packers evaluate it in one go, so a model of
N bytes never needs much more than N.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gristmill.errors import IRError
from gristmill.ir import types
from gristmill.ir.types import DictType, DType, ListType, TensorType, TupleType, Type

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

CONTENTS_LIMIT = 256
"""Tensors of more elements are never followed element by element during inference."""


class Data:
    """Lazy contents of a tensor. No abstract base class: asking for one by ``isinstance`` is slow."""

    dtype: DType
    shape: tuple[int, ...]

    def read(self) -> Array:
        """Evaluates to an array of ``shape`` and ``dtype.numpy``, which the caller must not write to."""
        raise NotImplementedError(f"{type(self).__name__} has no contents to read")  # a subclass has; see above

    @property
    def size(self) -> int:
        count = 1
        for dim in self.shape:
            count *= dim
        return count


class ArrayData(Data):
    """Contents that are already in memory."""

    def __init__(self, array: Array, dtype: DType | None = None) -> None:
        self.dtype = dtype or types.dtype_of(array.dtype)
        if array.dtype != self.dtype.numpy:
            raise IRError("array does not fit the element type", expected=self.dtype.numpy, actual=array.dtype)
        self.shape = tuple(int(n) for n in array.shape)
        self.array = array

    def read(self) -> Array:
        return self.array


class LazyData(Data):
    """Contents that a function produces on request: a source framework's storage, a decoding, a fold.

    Args:
        dtype: Element type of what ``produce`` returns.
        shape: Its shape.
        produce: Called for each read; keeps nothing.
        label: What it is, for messages and printing.
    """

    def __init__(self, dtype: DType, shape: tuple[int, ...], produce: Callable[[], Array], label: str = "lazy") -> None:
        self.dtype, self.shape, self.label = dtype, shape, label
        self._produce = produce

    def read(self) -> Array:
        array = self._produce()
        if array.dtype != self.dtype.numpy or array.shape != self.shape:
            raise IRError(
                f"lazy constant ({self.label}) came out differently than declared",
                expected=f"{self.dtype.numpy}{list(self.shape)}",
                actual=f"{array.dtype}{list(array.shape)}",
            )
        return array


class FilePlace(NamedTuple):
    """Where elements lie in an open file, as they would in memory.

    Attributes:
        descriptor: The operating system's number of the open file.
        start: The byte at which the elements begin.
        mapped: Whether devices may use the elements where they lie, instead of reading them.
    """

    descriptor: int
    start: int
    mapped: bool


class BlobData(Data):
    """A slice of a weight file, by the file's name inside the model and the offset of its metadata record.

    Args:
        dtype: Element type.
        shape: Of the tensor.
        path: The file's name.
        offset: Of the metadata record.
        read_blob: Reads the contents; given by whoever opened the file. Without it they can only be referred to.
        place: Where devices may read the elements themselves, as long as this object lives.
    """

    def __init__(
        self,
        dtype: DType,
        shape: tuple[int, ...],
        path: str,
        offset: int,
        read_blob: Callable[[], Array] | None = None,
        place: FilePlace | None = None,
    ) -> None:
        self.dtype, self.shape, self.path, self.offset, self.place = dtype, shape, path, offset, place
        self._read_blob = read_blob

    @property
    def readable(self) -> bool:
        """Whether the weight file is at hand."""
        return self._read_blob is not None

    def read(self) -> Array:
        if self._read_blob is None:
            raise IRError("the weight file is not at hand", expected=self.path, hint="load the model from its folder")
        return self._read_blob()


class CastData(Data):
    """Another constant's contents in another type.

    Floats are rounded once, to nearest even; integers wrap modulo 2ⁿ; floats become integers by truncation.
    """

    def __init__(self, source: Data, dtype: DType) -> None:
        self.source, self.dtype, self.shape = source, dtype, source.shape

    def read(self) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            return wrapped(self.source.read().astype(self.dtype.numpy), self.dtype)


def wrapped(array: Array, dtype: DType) -> Array:
    """Integers brought into the range of a type under a byte, modulo 2ⁿ; all others as they are."""
    if not dtype.is_integer or dtype.bits >= 8:
        return array
    low = array & ((1 << dtype.bits) - 1)
    if dtype.kind == "int":
        sign = 1 << (dtype.bits - 1)
        low = (low ^ sign) - sign
    return low.astype(dtype.numpy)


class TransposeData(Data):
    """Another constant's contents with its axes permuted."""

    def __init__(self, source: Data, perm: tuple[int, ...]) -> None:
        if sorted(perm) != list(range(len(source.shape))):
            raise IRError("not a permutation of the axes", expected=f"of {len(source.shape)} axes", actual=perm)
        self.source, self.perm, self.dtype = source, perm, source.dtype
        self.shape = tuple(source.shape[axis] for axis in perm)

    def read(self) -> Array:
        return self.source.read().transpose(self.perm)


class ReshapeData(Data):
    """Another constant's contents, in the same order, under another shape."""

    def __init__(self, source: Data, shape: tuple[int, ...]) -> None:
        self.source, self.shape, self.dtype = source, shape, source.dtype
        if self.size != source.size:
            raise IRError("a reshape keeps the number of elements", expected=list(source.shape), actual=list(shape))

    def read(self) -> Array:
        return self.source.read().reshape(self.shape)


class ConcatData(Data):
    """Other constants' contents, one after the other along the first axis."""

    def __init__(self, parts: Sequence[Data]) -> None:
        first = parts[0]
        for part in parts:
            if (part.dtype, part.shape[1:]) != (first.dtype, first.shape[1:]):
                raise IRError("parts of a constant have one type and one shape behind the first axis",
                              expected=f"{first.dtype}{list(first.shape)}",
                              actual=f"{part.dtype}{list(part.shape)}")  # fmt: skip
        self.parts, self.dtype = tuple(parts), first.dtype
        self.shape = (sum(part.shape[0] for part in parts), *first.shape[1:])

    def read(self) -> Array:
        return np.concatenate([part.read() for part in self.parts])


Payload: TypeAlias = "Data | tuple[Constant, ...] | tuple[tuple[Constant, Constant], ...]"


@dataclass(frozen=True, eq=False)
class Constant:
    """A typed value that is known before the program runs.

    Attributes:
        type: The declared type; a tensor's shape is static.
        payload: Tensor contents; for a list or tuple its elements; for a dictionary its (key, value) pairs in order.
    """

    type: Type
    payload: Payload

    @property
    def data(self) -> Data:
        """Contents of a tensor constant."""
        if not isinstance(self.payload, Data):
            raise IRError("not a tensor constant", actual=self.type)
        return self.payload

    def numpy(self) -> Array:
        """The contents of a tensor constant as an array; do not write to it."""
        return self.data.read()

    def python(self) -> Any:
        """The contents as plain Python: str, bool, int, float, nested lists, tuples or a dict."""
        if isinstance(self.payload, Data):
            return self.payload.read().tolist()
        if isinstance(self.type, DictType):
            return {key.python(): value.python() for key, value in self.pairs}
        elements = [element.python() for element in self.elements]
        return tuple(elements) if isinstance(self.type, TupleType) else elements

    @cached_property
    def parameter(self) -> Any:
        """As ``python``, but a tuple for a list, so that nobody can change it. Ops read their parameters often."""
        found = self.python()
        return tuple(found) if isinstance(found, list) else found

    @cached_property
    def contents(self) -> Array | None:
        """Elements of a small integer constant as Python's own numbers, for shape arithmetic; do not write to it."""
        if not isinstance(self.type, TensorType) or not (self.type.dtype.is_integer or self.type.dtype == types.bool_):
            return None
        data = self.data
        if data.size > CONTENTS_LIMIT or (isinstance(data, BlobData) and not data.readable):
            return None
        return data.read().astype(object)

    @property
    def pairs(self) -> tuple[tuple[Constant, Constant], ...]:
        """Keys and values of a dictionary constant, in order."""
        return self.payload  # type: ignore[return-value]  # a dictionary's payload is pairs by construction

    @property
    def elements(self) -> tuple[Constant, ...]:
        """Elements of a list or tuple constant."""
        return self.payload  # type: ignore[return-value]  # a list's payload is constants by construction


def constant(value: object, dtype: DType | None = None) -> Constant:
    """Makes a constant of a Python or NumPy value.

    Python floats become fp32, ints int32, unless ``dtype`` says otherwise; NumPy values keep their type. A dict becomes
    a dictionary, a tuple of strings and numbers a tensor.

    Raises:
        IRError: The value has no Core ML type, or an integer does not fit.
    """
    if isinstance(value, Constant):
        return value
    if isinstance(value, Data):
        return Constant(TensorType(value.dtype, value.shape), value)
    if isinstance(value, dict):
        pairs = tuple((constant(k), constant(v)) for k, v in value.items())
        key, element = (pairs[0][0].type, pairs[0][1].type) if pairs else (types.scalar(types.string),) * 2
        for pair in pairs:
            if (pair[0].type, pair[1].type) != (key, element):
                raise IRError(
                    "entries of a dictionary have one type",
                    expected=f"{key}: {element}",
                    actual=f"{pair[0].type}: {pair[1].type}",
                )
        return Constant(DictType(key, element), pairs)
    array = _to_array(value, dtype)
    data = ArrayData(array, dtype or types.dtype_of(array.dtype))
    return Constant(TensorType(data.dtype, data.shape), data)


def _to_array(value: object, dtype: DType | None) -> Array:
    try:
        array = np.asarray(value)
    except ValueError as error:  # rows that differ in length
        raise IRError("not a constant", actual=str(error)) from None
    if array.dtype.kind == "U":
        array = array.astype(object)
    if array.dtype == object and not all(isinstance(item, str) for item in array.flat):
        raise IRError("not a constant", expected="numbers, truth values or strings", actual=repr(value)[:80])
    if dtype is None:
        if not isinstance(value, np.ndarray | np.generic):  # Python numbers carry no width of their own
            if array.dtype.kind == "f" or (array.size == 0 and array.dtype.kind != "O"):
                return array.astype(np.float32)
            if array.dtype.kind == "i":
                return _to_array(array, types.int32)
        return array
    if dtype.is_integer:
        if array.dtype.kind not in "iub" and array.size:
            raise IRError("not an integer constant", expected=dtype, actual=array.dtype)
        if array.size and (int(array.min()) < dtype.min or int(array.max()) > dtype.max):
            raise IRError("integer constant out of range", expected=dtype, actual=f"{array.min()}…{array.max()}")
    elif (dtype == types.string) != (array.dtype == object) and array.size:
        raise IRError("strings and numbers do not mix", expected=dtype, actual=array.dtype)
    elif dtype == types.bool_ and array.dtype.kind != "b" and not np.isin(array, (0, 1)).all():
        raise IRError("not a truth value", expected=dtype, actual=array.dtype)
    with np.errstate(over="ignore"):
        return array.astype(dtype.numpy)


def tuple_constant(elements: tuple[Constant, ...]) -> Constant:
    """A constant of a tuple type."""
    return Constant(TupleType(tuple(e.type for e in elements)), elements)


def list_constant(elements: tuple[Constant, ...], element: Type) -> Constant:
    """A constant of a list type of fixed length."""
    return Constant(ListType(element, len(elements), dynamic=False), elements)


def same_constant(a: Constant, b: Constant) -> bool:
    """Whether two constants have equal types and bit-equal contents (a NaN equals itself)."""
    if a.type != b.type:
        return False
    if isinstance(a.payload, Data) and isinstance(b.payload, Data):
        x, y = a.payload.read(), b.payload.read()
        return x.tolist() == y.tolist() if x.dtype == object else x.tobytes() == y.tobytes()
    if isinstance(a.type, DictType):
        left, right = a.pairs, b.pairs
        return len(left) == len(right) and all(
            same_constant(k, m) and same_constant(v, w) for (k, v), (m, w) in zip(left, right, strict=True)
        )
    return len(a.elements) == len(b.elements) and all(map(same_constant, a.elements, b.elements))
