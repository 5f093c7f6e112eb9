"""Arithmetic that rounds every step to float16, for any code that is written in NumPy.

``Float16Array`` is an array of float16 whose sums and products accumulate in float16. NumPy's own float16 does that for
functions of one element, but adds and multiplies matrices in float32 inside. The definition of an op, handed such
arrays, computes what a unit with float16 accumulators would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from gristmill.ir.constants import Array

_LARGEST = np.float32(65504)


class Float16Array(np.ndarray[Any, np.dtype[Any]]):
    """Whatever NumPy computes with it is rounded to float16, step by step, and is such an array again."""

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        plain = [np.asarray(value) if isinstance(value, Float16Array) else value for value in inputs]
        if out is not None:
            options["out"] = tuple(map(np.asarray, out))
        if ufunc is np.matmul:
            result: Any = multiplied(*map(np.asarray, plain))
        elif method == "reduce" and ufunc in (np.add, np.multiply):
            result = _folded(ufunc, plain[0].astype(np.float16), **options)
        else:
            result = getattr(ufunc, method)(*plain, **options)
        result = tuple(map(_rounded, result)) if isinstance(result, tuple) else _rounded(result)
        if out is None:
            return result
        np.copyto(options["out"][0], np.asarray(result))  # an array of a wider type holds float16's values now, too
        return out[0]

    def __array_function__(
        self, function: Callable[..., Any], types: Any, arguments: Iterable[Any], options: Mapping[str, Any]
    ) -> Any:
        if function is np.einsum:
            return _sum_of_products(*arguments)
        result = super().__array_function__(function, types, arguments, options)
        if isinstance(result, list | tuple):
            return type(result)(map(_rounded, result))
        return _rounded(result)


def float16_array(array: Array) -> Array:
    """The array in float16, with float16's arithmetic."""
    with np.errstate(over="ignore"):
        return array.astype(np.float16).view(Float16Array)


def _rounded(value: Any) -> Any:
    """Floats as a ``Float16Array``; anything else as it is."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind == "f":
        return float16_array(np.asarray(value))
    return value


def round_to_float16(x: Array) -> Array:
    """Float32 numbers rounded to the nearest float16 number, ties to even, as a cast there and back does.

    NumPy's cast takes several times as long; a matrix product needs one for every product. Only the sign of a zero is
    lost.
    """
    # At 1.5·2¹³ times the power of two in x, but at least 2⁻¹⁴, the last place of float32 is that of float16 at x: what
    # is added there is rounded there.
    power = (x.view(np.uint32) & np.uint32(0x7F800000)).view(np.float32)
    np.maximum(power, np.float32(2.0**-14), out=power)
    power *= np.float32(1.5 * 2**13)
    result: Array = x + power
    result -= power
    if x.size and np.max(np.abs(result)) <= _LARGEST:
        return result
    return x.astype(np.float16).astype(np.float32)  # infinities and NaN


def multiplied(x: Array, y: Array) -> Array:
    """The matrix product of float16 numbers with float16 accumulators.

    Products are exact, and are added one after the other in the order of the inner axis; after each addition the sum is
    rounded to float16. (It is rounded to float32 first, which changes a tie now and then.)
    """
    left = np.asarray(x, np.float32)[None, :] if x.ndim == 1 else np.asarray(x, np.float32)
    right = np.asarray(y, np.float32)[:, None] if y.ndim == 1 else np.asarray(y, np.float32)
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    total = np.zeros((*batch, left.shape[-2], right.shape[-1]), np.float32)
    term = np.empty_like(total)
    with np.errstate(all="ignore"):
        for k in range(left.shape[-1]):
            np.multiply(left[..., :, k : k + 1], right[..., k : k + 1, :], out=term)
            total = round_to_float16(total + term)
    total = total[..., 0, :] if x.ndim == 1 else total
    return total[..., 0] if y.ndim == 1 else total


def _folded(ufunc: np.ufunc, x: Array, axis: Any = 0, keepdims: bool = False, initial: Any = None, **_: Any) -> Array:
    """Sums and products along axes, one element after the other, each step rounded."""
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    chosen = sorted(a % x.ndim for a in axes)
    moved = np.moveaxis(x, chosen, range(len(chosen)))
    flat = moved.reshape(-1, *moved.shape[len(chosen) :])
    start = np.full((1, *flat.shape[1:]), ufunc.identity if initial is None else initial, np.float16)
    # Unlike `reduce`, which adds in float32, `accumulate` writes every step as float16.
    result: Array = ufunc.accumulate(np.concatenate([start, flat]), axis=0)[-1]
    return np.expand_dims(result, chosen) if keepdims else result


def _sum_of_products(equation: str, *operands: Array) -> Array:
    """``np.einsum``: products of all operands over all letters, then the sum over those that the result lacks."""
    left, output = equation.split("->")
    letters = "".join(dict.fromkeys(output + left.replace(",", "")))
    product: Array | None = None
    for subscripts, operand in zip(left.split(","), operands, strict=True):
        own = "".join(c for c in letters if c in subscripts)
        moved = np.einsum(f"{subscripts}->{own}", np.asarray(operand))  # diagonals and order only
        sizes = dict(zip(own, moved.shape, strict=True))
        factor = moved.reshape([sizes.get(c, 1) for c in letters]).view(Float16Array)
        product = factor if product is None else product * factor
    assert product is not None
    return product.sum(axis=tuple(range(len(output), len(letters))))
