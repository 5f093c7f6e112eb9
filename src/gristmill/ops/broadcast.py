"""Shape rules that several families share."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gristmill.errors import DimError
from gristmill.ir import dims
from gristmill.ir.constants import Array
from gristmill.ir.dims import Dim, Shape
from gristmill.ir.op import Op


def broadcast_shapes(*shapes: Shape, op: Op) -> Shape:
    """The shape that NumPy's broadcasting makes of several: aligned at the last axis, a 1 stretches.

    Raises:
        TypeInferenceError: Two dimensions certainly do not go together; it names ``op``.
    """
    rank = max(map(len, shapes), default=0)
    result: list[Dim] = [1] * rank
    for shape in shapes:
        for axis, dim in enumerate(shape, rank - len(shape)):
            merged = dims.broadcast(result[axis], dim)
            if merged is None:
                raise op.misfit(
                    "the shapes do not broadcast",
                    expected=f"equal dimensions or 1 at axis {axis - rank}",
                    actual=" and ".join(f"[{', '.join(map(str, s))}]" for s in shapes),
                )
            result[axis] = merged
    return tuple(result)


def normalized_axis(axis: int, rank: int, op: Op) -> int:
    """An axis counted from the front.

    Raises:
        TypeInferenceError: A tensor of this rank has no such axis.
    """
    if not -rank <= axis < rank:
        raise op.misfit("no such axis", expected=f"-{rank} to {rank - 1}" if rank else "none: rank 0", actual=axis)
    return axis % rank


def normalized_axes(axes: Iterable[int], rank: int, op: Op) -> tuple[int, ...]:
    """Axes counted from the front, in the order given.

    Raises:
        TypeInferenceError: One does not exist or comes twice.
    """
    found = tuple(normalized_axis(axis, rank, op) for axis in axes)
    if len(set(found)) < len(found):
        raise op.misfit("an axis comes twice", expected="different axes", actual=list(found))
    return found


def along(parameter: Array, axes: tuple[int, ...], rank: int) -> Array:
    """A parameter whose axes are some axes of a tensor of a given rank, in a shape that broadcasts against it."""
    shape = [1] * rank
    for axis, size in zip(axes, parameter.shape, strict=True):
        shape[axis] = size
    return parameter.reshape(shape)


def decided_equal(x: Array, y: Array | int) -> Array:
    """Elementwise equality of dimensions.

    Raises:
        DimError: It depends on values that are not known.
    """
    return np.asarray(np.frompyfunc(_decided_equal, 2, 1)(x, y))


def _decided_equal(a: Dim, b: Dim) -> bool:
    if dims.always_equal(a, b):
        return True
    if dims.never_equal(a, b):
        return False
    raise DimError(f"whether {a} equals {b} depends on unknown dimensions")
