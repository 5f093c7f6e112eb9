"""Lists of tensors: arrays whose elements a loop writes one by one.

A list is a value like any other: writing to it makes another one. While a program runs it is a Python list, whose unset
elements are ``None`` and read as zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from gristmill.errors import DimError
from gristmill.ir import dims, types
from gristmill.ir.constants import Array
from gristmill.ir.dims import Dim
from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.ir.signature import Const, OfType, Operand, OptionalOperand, TypeVar, Variadic
from gristmill.ir.traits import DataMovement
from gristmill.ir.types import ListType, TensorType, Type, bool_, fp16, fp32, int32, scalar, string
from gristmill.ops.sizes import sized

MAX_LENGTH = 1 << 24
"""Most elements of a list; an index beyond is a mistake or an attack."""

Elements: TypeAlias = "list[Array | None]"


class make_list(Op):
    """An empty list of tensors of one shape and type.

    It has ``init_length`` elements, and grows when written beyond them where ``dynamic_length`` is true. In
    ``elem_shape`` a number is a size, and a string names one that is not known.
    """

    init_length = OptionalOperand(int32, rank=0)
    dynamic_length = Const(bool, default=True)
    elem_shape = Variadic((int32, string), rank=0, optional=True)
    dtype = Const(str, default="fp32", choices=("bool", "fp16", "fp32", "int32"))
    traits = (DataMovement,)

    def infer(self) -> Type:
        element = TensorType(types.DTYPES[self.dtype], sized(map(self._size, self.elem_shape)))
        return ListType(element, self._length(), self.dynamic_length)

    def _size(self, value: Value) -> Dim:
        if value.constant is None:
            raise self.misfit("'elem_shape' is constant", actual=value.type)
        size = value.constant.python()
        return dims.unknown() if isinstance(size, str) or size < 0 else int(size)

    def _length(self) -> Dim:
        if self.init_length is None:
            return 1
        if self.init_length.contents is None:
            return dims.unknown()
        length: Dim = self.init_length.contents.item()
        if isinstance(length, int) and not 0 <= length <= MAX_LENGTH:
            raise self.misfit("a list has a sensible length", expected=f"0 to {MAX_LENGTH}", actual=length)
        return length

    def reference(self, init_length: Array | None) -> Elements:
        length = 1 if init_length is None else int(init_length)
        if not 0 <= length <= MAX_LENGTH:
            raise ValueError(f"a list has 0 to {MAX_LENGTH} elements, not {length}")
        return [None] * length


class _OnList(Op):
    """What ops on a list share."""

    ls = Operand(OfType(ListType))
    traits = (DataMovement,)

    @property
    def _list(self) -> ListType:
        assert isinstance(self.ls.type, ListType)  # the signature asks for one
        return self.ls.type

    @property
    def _element(self) -> TensorType:
        element = self._list.element
        if not isinstance(element, TensorType):
            raise self.misfit("the list holds tensors", actual=element)
        return element

    def _read(self, elements: Elements, index: int) -> Array:
        if not 0 <= index < len(elements):
            raise IndexError(f"index {index} is out of range for a list of {len(elements)} elements")
        found = elements[index]
        if found is not None:
            return found
        if not self._element.is_static:
            raise ValueError(f"element {index} was never written, and its shape {self._element} is not known")
        return np.zeros([int(n) for n in self._element.shape], self._element.dtype.numpy)

    def _write(self, elements: Elements, indices: Sequence[int], values: Sequence[Array]) -> Elements:
        length = max([len(elements), *(index + 1 for index in indices)])
        if min(indices, default=0) < 0 or length > (MAX_LENGTH if self._list.dynamic else len(elements)):
            kind = "growing" if self._list.dynamic else "fixed"
            raise IndexError(f"indices {list(indices)} are out of range for a {kind} list of {len(elements)} elements")
        result = elements + [None] * (length - len(elements))
        for index, value in zip(indices, values, strict=True):
            result[index] = value
        return result

    def _check(self, shape: Sequence[Dim], value: TensorType) -> None:
        wanted = self._element.with_shape(tuple(shape))
        if not types.compatible(wanted, value):
            raise self.misfit("the value has the elements' type", expected=wanted, actual=value)


class list_length(_OnList):
    """How many elements the list has."""

    def infer(self) -> Type:
        return scalar(int32)

    def reference(self, ls: Elements) -> Array:
        return np.array(len(ls), np.int32)


class list_read(_OnList):
    """The element at ``index``, which is within the list. One that was never written is zeros."""

    index = Operand(int32, rank=0)

    def infer(self) -> Type:
        return self._element

    def reference(self, ls: Elements, index: Array) -> Array:
        return self._read(ls, int(index))


class list_write(_OnList):
    """The list with ``value`` at ``index``; a growing list is extended with unset elements up to there."""

    T = TypeVar(fp16, fp32, bool_, int32)

    index = Operand(int32, rank=0)
    value = Operand(T)

    def infer(self) -> Type:
        self._check(self._element.shape, self.value.tensor)
        return self.ls.type

    def reference(self, ls: Elements, index: Array, value: Array) -> Elements:
        return self._write(ls, [int(index)], [value])


class list_gather(_OnList):
    """The elements at ``indices``, which are within the list, one above the other along a new first axis."""

    indices = Operand(int32, rank=1)

    def infer(self) -> Type:
        return self._element.with_shape(sized((*self.indices.shape, *self._element.shape)))

    def reference(self, ls: Elements, indices: Array) -> Array:
        if not indices.size:
            return np.zeros((0, *(1 if not isinstance(n, int) else n for n in self._element.shape)), self._dtype)
        return np.stack([self._read(ls, int(index)) for index in indices])

    @property
    def _dtype(self) -> np.dtype[np.generic]:
        return self._element.dtype.numpy


class list_scatter(_OnList):
    """The list with the slices of ``value`` along its first axis at ``indices``; a growing list is extended."""

    T = TypeVar(fp16, fp32, bool_, int32)

    indices = Operand(int32, rank=1)
    value = Operand(T)

    def infer(self) -> Type:
        try:
            self._check((*self.indices.shape, *self._element.shape), self.value.tensor)
        except DimError as error:
            raise self.misfit(error.message) from error
        return self.ls.type

    def reference(self, ls: Elements, indices: Array, value: Array) -> Elements:
        return self._write(ls, indices.tolist(), list(value))


OPS = (list_gather, list_length, list_read, list_scatter, list_write, make_list)
