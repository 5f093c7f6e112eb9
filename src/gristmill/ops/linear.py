"""Matrix products.

Floats are multiplied and summed in float64. Integers are exact modulo 2ⁿ; where one side is integer and the other is
not, the sum is float64 and, should the result be integer, its fraction is dropped.
"""

from __future__ import annotations

import re

import numpy as np

from gristmill.ir import dims
from gristmill.ir.constants import Array
from gristmill.ir.dims import Dim, Shape
from gristmill.ir.op import Op
from gristmill.ir.opset import iOS13, iOS17
from gristmill.ir.program import Value
from gristmill.ir.signature import ByOpset, Const, Operand, OptionalOperand, TypeVar, Variadic
from gristmill.ir.traits import Contraction, Decompresses
from gristmill.ir.types import DType, TensorType, Type, fp16, fp32, int32
from gristmill.ops.broadcast import broadcast_shapes
from gristmill.ops.mathematics import truncated


class linear(Op):
    """``x·weightᵀ + bias`` along the last axis of ``x``; ``weight`` is [outputs, inputs], ``bias`` [outputs]."""

    T = TypeVar(fp16, fp32, int32)
    U = TypeVar(fp16, fp32, int32)

    x = Operand(T)
    weight = Operand(ByOpset({iOS13: T, iOS17: U}), const=True, rank=2)
    bias = OptionalOperand(ByOpset({iOS13: T, iOS17: U}), const=True, rank=1)
    traits = (Contraction,)

    def infer(self) -> Type:
        outputs, inputs = self.weight.shape
        if self.x.rank < 1:
            raise self.misfit("rank of 'x'", expected="1 or more", actual=0)
        if dims.never_equal(self.x.shape[-1], inputs):
            raise self.misfit("last dimension of 'x'", expected=f"{inputs}, as of 'weight'", actual=self.x.shape[-1])
        if self.bias is not None and dims.never_equal(self.bias.shape[0], outputs):
            raise self.misfit("length of 'bias'", expected=f"{outputs}, as of 'weight'", actual=self.bias.shape[0])
        return TensorType(self.x.dtype, (*self.x.shape[:-1], outputs))

    def reference(self, x: Array, weight: Array, bias: Array | None) -> Array:
        product = np.matmul(x, weight.T)
        if bias is not None:
            product = product + bias if product.dtype != np.float64 else np.add(product, bias, out=product)
        return _in_kind_of(product, self.x.dtype)


class matmul(Op):
    """``x·y`` over the last two axes; leading axes broadcast.

    A one-dimensional operand stands for a row on the left and a column on the right, whose axis the result lacks;
    transposition does not touch it. From iOS17 on a constant operand may have another type than the other one, whose
    type is then the result's.
    """

    T = TypeVar(fp16, fp32, int32)
    U = TypeVar(fp16, fp32, int32)

    x = Operand(T)
    y = Operand(ByOpset({iOS13: T, iOS17: U}))
    transpose_x = Const(bool, default=False)
    transpose_y = Const(bool, default=False)
    traits = (Contraction,)

    def infer(self) -> Type:
        if not (self.x.rank and self.y.rank):
            raise self.misfit("rank of the operands", expected="1 or more", actual=f"{self.x.rank} and {self.y.rank}")
        *batch_x, rows, inner_x = self._matrix(self.x.shape, self.transpose_x, row=True)
        *batch_y, inner_y, columns = self._matrix(self.y.shape, self.transpose_y, row=False)
        if dims.never_equal(inner_x, inner_y):
            raise self.misfit("inner dimensions of the product", expected=f"{inner_x}, as of 'x'", actual=inner_y)
        shape = broadcast_shapes(tuple(batch_x), tuple(batch_y), op=self)
        shape += () if self.x.rank == 1 else (rows,)
        shape += () if self.y.rank == 1 else (columns,)
        return TensorType(self._result_dtype(), shape)

    @staticmethod
    def _matrix(shape: Shape, transpose: bool, row: bool) -> tuple[Dim, ...]:
        if len(shape) == 1:
            return (1, *shape) if row else (*shape, 1)
        return (*shape[:-2], shape[-1], shape[-2]) if transpose else shape

    def _result_dtype(self) -> DType:
        x, y = self.x, self.y
        if x.dtype == y.dtype:
            return x.dtype
        if _known(x) == _known(y):
            raise self.misfit(
                "element types of the operands",
                expected="equal, unless one is constant",
                actual=f"{x.dtype}, {y.dtype}",
            )
        return y.dtype if _known(x) else x.dtype

    def reference(self, x: Array, y: Array, transpose_x: bool, transpose_y: bool) -> Array:
        x = x.swapaxes(-1, -2) if transpose_x and x.ndim > 1 else x
        y = y.swapaxes(-1, -2) if transpose_y and y.ndim > 1 else y
        return _in_kind_of(np.asarray(np.matmul(x, y)), self.result.dtype)


def _known(value: Value) -> bool:
    return value.is_constant or (value.producer is not None and value.producer.has(Decompresses))


def _in_kind_of(array: Array, dtype: DType) -> Array:
    if dtype.is_integer == (array.dtype.kind == "i"):
        return array
    return truncated(array, dtype) if dtype.is_integer else array.astype(np.float64)


class einsum(Op):
    """A sum of products in Einstein's notation, such as ``nchw,nwhu->nchu``.

    Every axis has a letter. Letters that the result lacks are summed over; under a common letter a dimension 1
    broadcasts. Core ML itself runs only such products of two tensors as the one above, of rank 3 or 4.
    """

    T = TypeVar(fp16, fp32, int32)

    values = Variadic(T)
    equation = Const(str)
    traits = (Contraction,)

    def infer(self) -> Type:
        inputs, output = self._parse()
        sizes: dict[str, Dim] = {}
        for letters, value in zip(inputs, self.values, strict=True):
            if len(letters) != value.rank:
                raise self.misfit("rank of an operand", expected=f"{len(letters)} ('{letters}')", actual=value.rank)
            for letter, dim in zip(letters, value.shape, strict=True):
                (sizes[letter],) = broadcast_shapes((sizes.get(letter, 1),), (dim,), op=self)
        return TensorType(self.values[0].dtype, tuple(sizes[letter] for letter in output))

    def _parse(self) -> tuple[list[str], str]:
        equation = self.equation.replace(" ", "")
        if not re.fullmatch(r"[A-Za-z]*(,[A-Za-z]*)*->[A-Za-z]*", equation):
            raise self.misfit("the equation", expected="letters, such as 'nchw,nwhu->nchu'", actual=repr(self.equation))
        left, output = equation.split("->")
        inputs = left.split(",")
        if len(inputs) != len(self.values):
            raise self.misfit("operands of the equation", expected=len(inputs), actual=len(self.values))
        if len(set(output)) < len(output) or not set(output) <= set(left):
            raise self.misfit("letters of the result", expected="each once, and of an operand", actual=output)
        return inputs, output

    def reference(self, values: tuple[Array, ...]) -> Array:
        inputs, output = self._parse()
        if len(values) == 2 and all(len(set(letters)) == len(letters) for letters in inputs):
            return _product(values[0], inputs[0], values[1], inputs[1], output)
        return np.asarray(np.einsum(",".join(inputs) + "->" + output, *values))


def _product(x: Array, of_x: str, y: Array, of_y: str, output: str) -> Array:
    """A sum of products of two tensors as one batched matrix product, which is much faster than summing in a loop."""
    x, of_x = _summed_alone(x, of_x, of_y + output)
    y, of_y = _summed_alone(y, of_y, of_x + output)
    batch = [c for c in output if c in of_x and c in of_y]
    rows = [c for c in output if c not in of_y]
    columns = [c for c in output if c not in of_x]
    inner = [c for c in of_x if c in of_y and c not in output]
    size = {c: n for c, n in zip(of_x + of_y, x.shape + y.shape, strict=True) if n != 1}
    x = np.broadcast_to(x, [size.get(c, 1) if c in inner else n for c, n in zip(of_x, x.shape, strict=True)])
    y = np.broadcast_to(y, [size.get(c, 1) if c in inner else n for c, n in zip(of_y, y.shape, strict=True)])
    left = x.transpose([of_x.index(c) for c in batch + rows + inner])
    right = y.transpose([of_y.index(c) for c in batch + inner + columns])
    b, split = len(batch), (len(batch) + len(rows), len(batch) + len(inner))
    matrices = np.matmul(
        left.reshape(*left.shape[:b], _count(left.shape[b : split[0]]), _count(left.shape[split[0] :])),
        right.reshape(*right.shape[:b], _count(right.shape[b : split[1]]), _count(right.shape[split[1] :])),
    )
    result = matrices.reshape(*matrices.shape[:b], *left.shape[b : split[0]], *right.shape[split[1] :])
    order = batch + rows + columns
    return result.transpose([order.index(c) for c in output])


def _summed_alone(x: Array, letters: str, others: str) -> tuple[Array, str]:
    """Sums over the letters that occur nowhere else."""
    alone = tuple(axis for axis, c in enumerate(letters) if c not in others)
    return np.asarray(x.sum(axis=alone, dtype=x.dtype)), "".join(c for c in letters if c in others)


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


OPS = (einsum, linear, matmul)
