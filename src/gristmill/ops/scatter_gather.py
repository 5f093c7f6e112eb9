"""Reading and writing at indices.

One rule for indices holds in the whole family. Until iOS16 an index from -n to n - 1 is good, for a dimension of size
n, negative ones counting from the end, and another one is an error. Since iOS17, with ``validate_indices`` only 0 to
n - 1 are good and others are an error. Without it Core ML promises no more than memory safety; here a negative index
down to -n still counts from the end, one beyond is held at the nearest element when read, and dropped when written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gristmill.errors import DimError
from gristmill.ir.constants import Array
from gristmill.ir.dims import Dim
from gristmill.ir.op import Op
from gristmill.ir.opset import iOS13, iOS16, iOS17
from gristmill.ir.signature import ByOpset, Const, Operand, TypeVar
from gristmill.ir.traits import DataMovement, ShapeArithmetic
from gristmill.ir.types import Type, fp16, fp32, int8, int16, int32, uint8, uint16
from gristmill.ops.broadcast import normalized_axis
from gristmill.ops.sizes import agree, sized


class _Indexed(Op):
    validate_indices = Const(bool, default=False, since=iOS17)

    def _places(self, indices: Array, size: int) -> tuple[Array, Array]:
        """Indices counted from the front, and which of them are good."""
        places = indices.astype(np.int64)
        validated = self.validate_indices
        if not validated:
            places = np.where((places < 0) & (places >= -size), places + size, places)
        good = (places >= 0) & (places < size)
        if not good.all() and (validated or self.opset < iOS17):
            lowest = 0 if validated else -size
            raise IndexError(f"index {indices[~good].flat[0]} is out of range, expected {lowest} to {size - 1}")
        return places, good

    def _readable(self, indices: Array, size: int) -> Array:
        """Indices that are safe to read at."""
        places, _ = self._places(indices, size)
        if places.size and not size:
            raise IndexError("there is nothing to read in a dimension of size 0")
        return places.clip(0, max(size - 1, 0))

    def _expect(self, what: str, wanted: Sequence[Dim], found: Sequence[Dim]) -> None:
        """Refuses shapes that certainly differ."""
        if len(wanted) != len(found) or any(agree(a, b) is None for a, b in zip(wanted, found, strict=True)):
            raise self.misfit(f"the shape of {what} does not fit", expected=list(wanted), actual=list(found))


# --- reading ---------------------------------------------------------------------------------------------------------


class _Gathers(_Indexed):
    T = TypeVar(fp16, fp32, int32).also(iOS17, int8, int16, uint8, uint16)
    I = TypeVar(int32, int16, uint16).also(iOS17, int8, uint8)  # noqa: E741  # the type variable's name in Core ML

    x = Operand(T)
    indices = Operand(ByOpset({iOS13: int32, iOS16: I}))
    traits = (DataMovement, ShapeArithmetic)


class gather(_Gathers):
    """Slices of ``x`` along ``axis``: ``[…D, n, …E]`` read at indices ``[…N]`` gives ``[…D, …N, …E]``.

    The first ``batch_dims`` dimensions of ``x`` and ``indices`` are the same and go along together.
    """

    axis = Const(int, default=0)
    batch_dims = Const(int, default=0, since=iOS16)

    def infer(self) -> Type:
        axis, batch = normalized_axis(self.axis, self.x.rank, self), self.batch_dims
        source, indices = self.x.shape, self.indices.shape
        if not 0 <= batch <= min(axis, len(indices)):
            raise self.misfit("batch dimensions come before the axis", expected=f"0 to {axis}", actual=batch)
        self._expect("the indices' batch", source[:batch], indices[:batch])
        return self.x.tensor.with_shape(sized((*source[:axis], *indices[batch:], *source[axis + 1 :])))

    def reference(self, x: Array, indices: Array, axis: int) -> Array:
        axis, batch = normalized_axis(axis, x.ndim, self), self.batch_dims
        places = self._readable(indices, x.shape[axis])
        if not batch:
            return np.asarray(x.take(places, axis), dtype=x.dtype)
        picked = [x[at].take(places[at], axis - batch) for at in np.ndindex(x.shape[:batch])]
        shape = (*x.shape[:axis], *places.shape[batch:], *x.shape[axis + 1 :])
        return np.stack(picked).reshape(shape) if picked else np.empty(shape, x.dtype)


class gather_along_axis(_Gathers):
    """``y[…, i, …] = x[…, indices[…, i, …], …]``: one index for each element of the result."""

    axis = Const(int, default=0)

    def infer(self) -> Type:
        axis = normalized_axis(self.axis, self.x.rank, self)
        wanted = list(self.x.shape)
        if self.indices.rank == self.x.rank:
            wanted[axis] = self.indices.shape[axis]
        self._expect("'indices'", wanted, self.indices.shape)
        return self.x.tensor.with_shape(self.indices.shape)

    def reference(self, x: Array, indices: Array, axis: int) -> Array:
        return np.take_along_axis(x, self._readable(indices, x.shape[axis]), axis)


class gather_nd(_Gathers):
    """Slices of ``x`` at index vectors: the last dimension of ``indices``, of size K, addresses K dimensions of ``x``.

    ``y[…] = x[indices[…, 0], …, indices[…, K - 1]]``. The first ``batch_dims`` dimensions of ``x`` and ``indices`` are
    the same and go along together.
    """

    batch_dims = Const(int, default=0, since=iOS16)

    def infer(self) -> Type:
        batch, source, indices = self.batch_dims, self.x.shape, self.indices.shape
        if not 0 <= batch < max(len(indices), 1) or not indices:
            raise self.misfit("batch dimensions come before the index vector", actual=batch)
        depth = _depth(indices[-1], len(source) - batch)
        self._expect("the indices' batch", source[:batch], indices[:batch])
        return self.x.tensor.with_shape(sized((*indices[:-1], *source[batch + depth :])))

    def reference(self, x: Array, indices: Array) -> Array:
        batch, depth = self.batch_dims, indices.shape[-1]
        places = [self._readable(indices[..., k], x.shape[batch + k]) for k in range(depth)]
        along = np.ogrid[tuple(slice(n) for n in indices.shape[:-1])][:batch] if batch else []
        key = (*along, *places)
        if not key:  # an empty index vector addresses all of x
            return np.broadcast_to(x, (*indices.shape[:-1], *x.shape))
        return np.asarray(x[key], dtype=x.dtype)


def _depth(last: Dim, most: int) -> int:
    if not isinstance(last, int) or last > most:
        raise DimError("an index vector has a known length, not above the rank", expected=f"0 to {most}", actual=last)
    return last


# --- writing ---------------------------------------------------------------------------------------------------------

_MODES: dict[str, Callable[[Array, tuple[Array, ...], Array], None]] = {
    "update": lambda out, key, updates: out.__setitem__(key, updates),
    "add": np.add.at,
    "sub": np.subtract.at,
    "mul": np.multiply.at,
    "div": lambda out, key, updates: _divide_at(out, key, updates),
    "max": np.maximum.at,
    "min": np.minimum.at,
}


def _divide_at(out: Array, key: tuple[Array, ...], updates: Array) -> None:
    """Divides in place; integers as ``real_div`` does, truncating towards zero, and giving 0 for a division by 0."""
    if out.dtype.kind == "f":
        np.divide.at(out, key, updates)
        return
    sign, size = np.sign(out.astype(np.int64)), np.abs(out.astype(np.int64))
    np.multiply.at(sign, key, np.sign(updates.astype(np.int64)))
    np.floor_divide.at(size, key, np.abs(updates.astype(np.int64)))
    out[...] = sign * size


class _Scatters(_Indexed):
    T = TypeVar(fp16, fp32, int32)

    data = Operand(T)
    indices = Operand(int32)
    updates = Operand(T)
    mode = Const(str, default="add", choices=tuple(_MODES))

    def _written(self, data: Array, key: tuple[Array, ...], good: Array, updates: Array) -> Array:
        """``data`` with ``updates`` combined in at the good places; one that comes twice counts twice, in order."""
        result = data.copy()
        _MODES[self.mode](result, tuple(places[good] for places in key), updates[good])
        return result


class scatter(_Scatters):
    """``data`` with slices along ``axis`` combined with those of ``updates``, the reverse of ``gather``.

    ``mode`` says how: ``update`` replaces (the last one wins), the others add, subtract, multiply, divide by, or take
    the larger or smaller, where a NaN wins. The default is ``add``. Integers wrap; their division truncates towards
    zero, and gives 0 for a division by 0.
    """

    axis = Const(int, default=0)

    def infer(self) -> Type:
        shape, axis = self.data.shape, normalized_axis(self.axis, self.data.rank, self)
        self._expect("'updates'", (*shape[:axis], *self.indices.shape, *shape[axis + 1 :]), self.updates.shape)
        return self.data.type

    def reference(self, data: Array, indices: Array, updates: Array, axis: int) -> Array:
        axis = normalized_axis(axis, data.ndim, self)
        places, good = self._places(indices, data.shape[axis])
        own = range(axis, axis + indices.ndim)
        in_front = np.moveaxis(updates, tuple(own), tuple(range(indices.ndim)))
        written = self._written(np.moveaxis(data, axis, 0), (places,), good, in_front)
        return np.moveaxis(written, 0, axis)


class scatter_along_axis(_Scatters):
    """``data`` combined with ``updates`` at ``[…, indices[…, i, …], …]``, the reverse of ``gather_along_axis``.

    ``mode`` is as in ``scatter``.
    """

    axis = Const(int, default=0)

    def infer(self) -> Type:
        axis = normalized_axis(self.axis, self.data.rank, self)
        self._expect("'updates'", self.indices.shape, self.updates.shape)
        wanted = list(self.data.shape)
        if self.indices.rank == self.data.rank:
            wanted[axis] = self.indices.shape[axis]
        self._expect("'indices'", wanted, self.indices.shape)
        return self.data.type

    def reference(self, data: Array, indices: Array, updates: Array, axis: int) -> Array:
        places, good = self._places(indices, data.shape[axis])
        axis = normalized_axis(axis, data.ndim, self)
        grid: tuple[Array, ...] = tuple(np.indices(indices.shape))
        return self._written(data, (*grid[:axis], places, *grid[axis + 1 :]), good, updates)


class scatter_nd(_Scatters):
    """``data`` combined with ``updates`` at index vectors, as ``gather_nd`` reads; ``mode`` is as in ``scatter``."""

    def infer(self) -> Type:
        if not self.indices.rank:
            raise self.misfit("'indices' holds index vectors", expected="rank 1 or more", actual=self.indices.type)
        depth = _depth(self.indices.shape[-1], self.data.rank)
        self._expect("'updates'", (*self.indices.shape[:-1], *self.data.shape[depth:]), self.updates.shape)
        return self.data.type

    def reference(self, data: Array, indices: Array, updates: Array) -> Array:
        depth, rest = indices.shape[-1], data.shape[indices.shape[-1] :]
        vectors = indices.reshape(-1, depth) if depth else indices.reshape(indices.size, 0)
        checked = [self._places(vectors[:, k], data.shape[k]) for k in range(depth)]
        good = np.all([g for _, g in checked], axis=0)
        return self._written(data, tuple(p for p, _ in checked), good, updates.reshape(-1, *rest))


OPS = (gather, gather_along_axis, gather_nd, scatter, scatter_along_axis, scatter_nd)
