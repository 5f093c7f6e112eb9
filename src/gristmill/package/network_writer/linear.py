"""Products with matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.ops import linear
from gristmill.package.network_writer.elementwise import whole
from gristmill.package.network_writer.registry import RefusedError, writes
from gristmill.package.network_writer.writer import Writer


@writes(linear.linear)
def product_with_weight(w: Writer, op: Any) -> str:
    """Up to three axes the layer multiplies along the last one; with more, another type of layer does so."""
    x = w.tensor(op.x)
    if not w.knows(op.weight):
        y = w.layer("batchedMatmul", x, w.tensor(op.weight), transposeB=True)
        return whole(w, op, y if op.bias is None else w.add(y, w.tensor(op.bias)))
    weight = w.held(op.weight, "the weight", axis=0)
    bias = None if op.bias is None else w.held(op.bias, "the bias")
    if op.x.rank > 3:
        return whole(w, op, _batched(w, x, op.weight.shape, weight, bias))
    made, taken = op.weight.shape
    y = w.layer(
        "innerProduct",
        x,
        inputChannels=taken,
        outputChannels=made,
        weights=weight,
        hasBias=bias is not None,
        bias=bias,
    )
    return whole(w, op, y)  # weights of integers may be floats


def _batched(w: Writer, x: str, shape: Sequence[Any], weight: Any, bias: Any, transpose: bool = False) -> str:
    """A product with a matrix [made, taken] of the layer's own, which the layer describes the other way round."""
    made, taken = shape
    return w.layer(
        "batchedMatmul",
        x,
        transposeA=transpose,
        weightMatrixFirstDimension=taken,
        weightMatrixSecondDimension=made,
        weights=weight,
        hasBias=bias is not None,
        bias=bias,
    )


@writes(linear.matmul)
def product(w: Writer, op: Any) -> str:
    x, y = w.tensor, w.constant(op.y)
    if y is not None and y.ndim == 2 and op.x.rank >= 2 and op.x.dtype.is_float:
        matrix = y if op.transpose_y else y.T
        return _batched(w, x(op.x), matrix.shape, w.derived(op.y, matrix), None, op.transpose_x)
    made = w.layer(  # a vector is not transposed
        "batchedMatmul",
        x(op.x),
        x(op.y),
        transposeA=op.transpose_x and op.x.rank > 1,
        transposeB=op.transpose_y and op.y.rank > 1,
    )
    return w.reshape(made, [1]) if op.result.rank == 0 else made


@writes(linear.einsum)
def einsum(w: Writer, op: Any) -> str:
    """Two operands as a batched product of matrices, each letter an axis of its own."""
    inputs, output = op.equation.replace(" ", "").split("->")
    letters = inputs.split(",")
    if len(letters) != 2 or any(len(set(each)) < len(each) for each in letters):
        raise RefusedError(
            "a network multiplies two tensors, each axis with a letter of its own", "convert to an ML Program"
        )
    left, right = letters
    x, left = _summed_alone(w, w.tensor(op.values[0]), left, right + output)
    y, right = _summed_alone(w, w.tensor(op.values[1]), right, left + output)
    batch = [c for c in output if c in left and c in right]
    rows, columns = ([c for c in mine if c not in theirs] for mine, theirs in ((left, right), (right, left)))
    inner = [c for c in left if c in right and c not in output]
    if max(len(rows), len(columns), len(inner)) > 1:
        raise RefusedError("a network sums along one axis, between one of each tensor", "reshape the operands")
    x = w.transpose(x, [left.index(c) for c in (*batch, *rows, *inner)])
    y = w.transpose(y, [right.index(c) for c in (*batch, *inner, *columns)])
    front = len(batch)
    if not rows:
        x = w.expand(x, [front])
    if not columns:
        y = w.expand(y, [front + 1])
    if not inner:
        x, y = w.expand(x, [front + 1]), w.expand(y, [front])
    made = w.layer("batchedMatmul", x, y)
    ones = [*([] if rows else [front]), *([] if columns else [front + 1])]
    if len(ones) == 2 and not batch:
        return w.reshape(made, [1])
    made = w.squeeze(made, ones)
    order = [*batch, *rows, *columns]
    return w.transpose(made, [order.index(c) for c in output])


def _summed_alone(w: Writer, x: str, letters: str, others: str) -> tuple[str, str]:
    """An operand summed along axes that nothing else has."""
    alone = [axis for axis, letter in enumerate(letters) if letter not in others]
    if not alone or len(alone) == len(letters):
        return x, letters
    return w.layer("reduceSum", x, axes=alone, keepDims=False), "".join(c for c in letters if c in others)
