"""Tensors under another shape or order: reshaping, permuting, reversing, moving blocks between axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gristmill.errors import DimError
from gristmill.ir import dims
from gristmill.ir.constants import Array
from gristmill.ir.dims import Dim, DimExpr, Shape, Symbol
from gristmill.ir.op import Op
from gristmill.ir.opset import Opset, iOS13, iOS16, iOS17
from gristmill.ir.signature import ByOpset, Const, Operand, TypeVar, Variadic
from gristmill.ir.traits import DataMovement, Reshapes, ShapeArithmetic
from gristmill.ir.types import Type, bool_, fp16, fp32, int8, int16, int32, uint8, uint16, uint32
from gristmill.ops.broadcast import normalized_axes, normalized_axis
from gristmill.ops.sizes import known_length, sized, sizes_of


class _Moves(Op):
    T = TypeVar(fp16, fp32, int32, bool_).also(iOS17, int8, int16, uint8, uint16)
    U = TypeVar(int8, int16, int32)

    x = Operand(T)


class _Rearranges(Op):
    """Blocks of an image-like tensor; floating only."""

    T = TypeVar(fp16, fp32)

    x = Operand(T, rank=4)
    traits = (DataMovement,)


# --- reshaping -------------------------------------------------------------------------------------------------------


def _filled_in(source: Sequence[Dim], target: Sequence[Dim], opset: Opset) -> Shape:
    """The shape that ``reshape`` is asked for, with 0 and -1 resolved."""
    if opset >= iOS17:  # zeros match from the right, and stand for 1 where the operand has no such dimension
        aligned = [*([1] * len(target)), *source][len(source) :]
    elif any(type(d) is int and d == 0 for d in target) and len(source) != len(target):
        raise DimError(
            "a shape with 0 in it has the operand's rank",
            expected=f"{len(source)} elements (until iOS16)",
            actual=list(target),
        )
    else:
        aligned = list(source)
    shape = [aligned[k] if type(d) is int and d == 0 else d for k, d in enumerate(target)]
    open_places = [k for k, d in enumerate(shape) if type(d) is int and d < 0]
    total = dims.product(source)
    if open_places:
        if len(open_places) > 1 or shape[open_places[0]] != -1:
            raise DimError("a shape has at most one -1 and no other negative element", actual=list(target))
        shape[open_places[0]] = _shared_out(total, [d for k, d in enumerate(shape) if k != open_places[0]])
    if dims.never_equal(dims.product(shape), total):
        raise DimError("the number of elements changes", expected=f"{total} as in {list(source)}", actual=list(target))
    return sized(shape)


def _shared_out(total: Dim, others: Sequence[Dim]) -> Dim:
    """What remains of ``total`` elements for one dimension beside ``others``.

    None of those may be 0, whatever their bounds say, so symbols among them are cancelled as if they were positive.
    """
    if 0 in others:
        raise DimError("-1 beside an empty dimension may be anything", actual=[*others, -1])
    symbols = {d.name: d for d in others if isinstance(d, Symbol) and d.lower < 1 and d.upper != 0}
    positive = {name: dims.symbol(name, 1, d.upper) for name, d in symbols.items()}
    quotient = _substituted(total, positive) // _substituted(dims.product(others), positive)
    return _substituted(quotient, symbols)


def _substituted(dim: Dim, values: Mapping[str, Dim]) -> Dim:
    return dim.substitute(values) if isinstance(dim, DimExpr) else dim


class reshape(_Moves):
    """``x``'s elements in the same order under another shape.

    An element of ``shape`` that is -1 (one at most) is what remains. A 0 copies a dimension of ``x``: until iOS16 the
    one at the same place, and the ranks must be equal; since iOS17 the one as far from the right end, or 1 where there
    is none. A dimension of size 0 can therefore only be copied. -1 beside a dimension of size 0 is an error.
    """

    shape = Operand(ByOpset({iOS13: int32, iOS17: _Moves.U}), rank=1)
    traits = (Reshapes, ShapeArithmetic)

    def infer(self) -> Type:
        wanted = sizes_of(self.shape)
        if wanted is None:
            return self.x.tensor.with_shape(tuple(dims.unknown() for _ in range(known_length(self.shape, "'shape'"))))
        return self.x.tensor.with_shape(_filled_in(self.x.shape, wanted, self.opset))

    def reference(self, x: Array, shape: Array) -> Array:
        return x.reshape(_filled_in(x.shape, shape.tolist(), self.opset))


class reshape_like(_Moves):
    """``x``'s elements in the same order under a shape made of pieces of other tensors' shapes.

    From each of ``ref_tensors`` the dimensions ``begins[i]`` to ``ends[i]``, exclusive, or to its last where
    ``end_masks[i]`` is true.
    """

    since = iOS16
    ref_tensors = Variadic((fp16, fp32, int32, bool_, int8, int16, uint8, uint16))
    begins = Variadic(int32, rank=0)
    ends = Variadic(int32, rank=0)
    end_masks = Variadic(bool_, rank=0)
    traits = (Reshapes,)

    def infer(self) -> Type:
        total = dims.product(self.x.shape)
        shape = self._picked([value.shape for value in self.ref_tensors])
        if dims.never_equal(dims.product(shape), total):
            raise self.misfit("the number of elements changes", expected=total, actual=list(shape))
        return self.x.tensor.with_shape(sized(shape))

    def _picked(self, shapes: Sequence[Shape]) -> Shape:
        limits = [[self._scalar(v) for v in values] for values in (self.begins, self.ends, self.end_masks)]
        if any(len(part) != len(shapes) for part in limits):
            raise self.misfit("there is a begin, an end and a mask for each tensor", expected=len(shapes))
        picked: list[Dim] = []
        for shape, begin, end, mask in zip(shapes, *limits, strict=True):
            picked += shape[begin:] if mask else shape[begin:end]
        return tuple(picked)

    def _scalar(self, value: object) -> int:
        constant = getattr(value, "constant", None)
        if constant is None:
            raise self.misfit("begins, ends and masks are constants", actual=value)
        return int(constant.python())

    def reference(self, x: Array, ref_tensors: tuple[Array, ...]) -> Array:
        return x.reshape(tuple(int(d) for d in self._picked([t.shape for t in ref_tensors])))


class expand_dims(_Moves):
    """``x`` with dimensions of size 1 inserted; ``axes`` are places in the result, negative ones from its end."""

    axes = Const.ints()
    traits = (Reshapes, ShapeArithmetic)

    def _inserted(self, shape: Sequence[Dim], axes: tuple[int, ...]) -> Shape:
        places = set(normalized_axes(axes, len(shape) + len(axes), self))
        rest = iter(shape)
        return tuple(1 if k in places else next(rest) for k in range(len(shape) + len(places)))

    def infer(self) -> Type:
        return self.x.tensor.with_shape(self._inserted(self.x.shape, self.axes))

    def reference(self, x: Array, axes: tuple[int, ...]) -> Array:
        return x.reshape(self._inserted(x.shape, axes))


class squeeze(_Moves):
    """``x`` without dimensions of size 1: those named by ``axes``, or all.

    A named axis whose declared size is not 1 stays, and so does one of unknown size, whatever it is when the program
    runs, because the rank of the result is part of its type.
    """

    x = Operand(_Moves.T, rank=(1, 64))
    axes = Const.ints(default=None)
    traits = (Reshapes, ShapeArithmetic)

    def _dropped(self) -> set[int]:
        named = range(self.x.rank) if self.axes is None else normalized_axes(self.axes, self.x.rank, self)
        return {axis for axis in named if self.x.shape[axis] == 1}

    def infer(self) -> Type:
        dropped = self._dropped()
        return self.x.tensor.with_shape(tuple(d for k, d in enumerate(self.x.shape) if k not in dropped))

    def reference(self, x: Array) -> Array:
        return x.squeeze(tuple(self._dropped()))


# --- order -----------------------------------------------------------------------------------------------------------


class transpose(_Moves):
    """``x`` with its axes in the order ``perm``; negative entries count from the end."""

    perm = Const.ints()
    traits = (DataMovement, ShapeArithmetic)

    def infer(self) -> Type:
        perm = normalized_axes(self.perm, self.x.rank, self)
        if len(perm) != self.x.rank:
            raise self.misfit("'perm' names each axis once", expected=f"{self.x.rank} axes", actual=list(perm))
        return self.x.tensor.with_shape(tuple(self.x.shape[axis] for axis in perm))

    def reference(self, x: Array, perm: tuple[int, ...]) -> Array:
        return x.transpose(perm)


class reverse(_Moves):
    """``x`` with the order along each of ``axes`` (all, by default) turned round."""

    axes = Const.ints(default=None)
    traits = (DataMovement, ShapeArithmetic)

    def infer(self) -> Type:
        if self.axes is not None:
            normalized_axes(self.axes, self.x.rank, self)
        return self.x.type

    def reference(self, x: Array, axes: tuple[int, ...] | None) -> Array:
        return np.flip(x, axes)


class reverse_sequence(_Moves):
    """``x`` with the first ``lengths[b]`` elements along ``seq_axis`` turned round, for each place b of ``batch_axis``.

    A length outside 0 to the size of ``seq_axis`` is an error.
    """

    lengths = Operand(ByOpset({iOS13: int32, iOS17: _Moves.U}), rank=1)
    seq_axis = Const(int, default=0)
    batch_axis = Const(int, default=0)
    traits = (DataMovement,)

    def infer(self) -> Type:
        batch_axis, _ = normalized_axes((self.batch_axis, self.seq_axis), self.x.rank, self)
        batch = self.x.shape[batch_axis]
        if dims.never_equal(batch, self.lengths.shape[0]):
            raise self.misfit("there is one length for each sequence", expected=batch, actual=self.lengths.shape[0])
        return self.x.type

    def reference(self, x: Array, lengths: Array, seq_axis: int, batch_axis: int) -> Array:
        size = x.shape[seq_axis]
        if ((lengths < 0) | (lengths > size)).any():
            raise IndexError(f"lengths are from 0 to {size}, not {lengths.tolist()}")
        seq_axis, batch_axis = normalized_axis(seq_axis, x.ndim, self), normalized_axis(batch_axis, x.ndim, self)
        place = np.arange(size)
        by_batch = lengths.astype(np.int64)[:, None]
        source = np.where(place < by_batch, by_batch - 1 - place, place)  # [batch, place along the sequence]
        spread = [1] * x.ndim
        spread[batch_axis], spread[seq_axis] = source.shape
        ordered = source if batch_axis < seq_axis else source.T
        return np.take_along_axis(x, ordered.reshape(spread), seq_axis)


# --- blocks of an image ----------------------------------------------------------------------------------------------


def _divided(dim: Dim, by: int, what: str) -> Dim:
    if by < 1:
        raise DimError(f"{what} is divided into blocks", expected="at least 1", actual=by)
    if isinstance(dim, int) and dim % by:
        raise DimError(f"{what} is not divisible", expected=f"a multiple of {by}", actual=dim)
    return dim // by


def _deep_to_wide(x: Array, block: int, *, channel_last: bool) -> Array:
    """Channels spread over block × block places, the block's index being the last or the first part of a channel's."""
    n, c, h, w = x.shape
    depth = c // block**2
    if channel_last:
        parts = x.reshape(n, block, block, depth, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(n, depth, block, block, h, w).transpose(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, depth, h * block, w * block)


def _wide_to_deep(x: Array, block: int, *, channel_last: bool) -> Array:
    """The inverse of ``_deep_to_wide``."""
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // block, block, w // block, block)
    order = (0, 3, 5, 1, 2, 4) if channel_last else (0, 1, 3, 5, 2, 4)
    return parts.transpose(order).reshape(n, c * block**2, h // block, w // block)


def _spread(shape: Shape, block: int) -> Shape:
    n, c, h, w = shape
    return sized((n, _divided(c, block * block, "the number of channels"), h * block, w * block))


def _gathered(shape: Shape, block: int) -> Shape:
    n, c, h, w = shape
    return sized((n, c * (block * block), _divided(h, block, "the height"), _divided(w, block, "the width")))


class depth_to_space(_Rearranges):
    """Channels to blocks of space: ``y[n, c, h·b + i, w·b + j] = x[n, (i·b + j)·C + c, h, w]``."""

    block_size = Const(int)

    def infer(self) -> Type:
        return self.x.tensor.with_shape(_spread(self.x.shape, self.block_size))

    def reference(self, x: Array, block_size: int) -> Array:
        return _deep_to_wide(x, block_size, channel_last=True)


class space_to_depth(_Rearranges):
    """Blocks of space to channels, the inverse of ``depth_to_space``."""

    block_size = Const(int)

    def infer(self) -> Type:
        return self.x.tensor.with_shape(_gathered(self.x.shape, self.block_size))

    def reference(self, x: Array, block_size: int) -> Array:
        return _wide_to_deep(x, block_size, channel_last=True)


class pixel_shuffle(_Rearranges):
    """Channels to blocks of space: ``y[n, c, h·f + i, w·f + j] = x[n, (c·f + i)·f + j, h, w]`` (Shi et al., 2016)."""

    upscale_factor = Const(int)

    def infer(self) -> Type:
        return self.x.tensor.with_shape(_spread(self.x.shape, self.upscale_factor))

    def reference(self, x: Array, upscale_factor: int) -> Array:
        return _deep_to_wide(x, upscale_factor, channel_last=False)


class pixel_unshuffle(_Rearranges):
    """Blocks of space to channels, the inverse of ``pixel_shuffle``."""

    since = iOS16
    downscale_factor = Const(int, uint32)

    def infer(self) -> Type:
        return self.x.tensor.with_shape(_gathered(self.x.shape, self.downscale_factor))

    def reference(self, x: Array, downscale_factor: int) -> Array:
        return _wide_to_deep(x, downscale_factor, channel_last=False)


class _Batches(_Rearranges):
    block_shape = Const.ints()

    def _pairs(self, amounts: Array) -> list[tuple[int, int]]:
        if amounts.shape != (2, 2) or len(self.block_shape) != 2 or amounts.min() < 0 or min(self.block_shape) < 1:
            raise self.misfit(
                "two positive block sizes and two pairs of amounts that are not negative",
                actual=f"{list(self.block_shape)} and {amounts.tolist()}",
            )
        return [(int(a), int(b)) for a, b in amounts]

    def _constant(self, name: str) -> Array:
        constant = self.operand(name).constant
        assert constant is not None  # the signature asks for one
        return constant.numpy()


class space_to_batch(_Batches):
    """Places within each block of the (zero-padded) space to the batch.

    ``y[(i·b₁ + j)·N + n, c, h, w] = padded[n, c, h·b₀ + i, w·b₁ + j]``.
    """

    paddings = Operand(int32, const=True, rank=2)

    def infer(self) -> Type:
        n, c, *space = self.x.shape
        pairs = self._pairs(self._constant("paddings"))
        blocks = self.block_shape
        padded = [
            _divided(d + before + after, b, "the padded space")
            for d, (before, after), b in zip(space, pairs, blocks, strict=True)
        ]
        return self.x.tensor.with_shape(sized((n * (blocks[0] * blocks[1]), c, *padded)))

    def reference(self, x: Array, block_shape: tuple[int, ...], paddings: Array) -> Array:
        padded = np.pad(x, [(0, 0), (0, 0), *self._pairs(paddings)])
        n, c, h, w = padded.shape
        b0, b1 = block_shape
        parts = padded.reshape(n, c, h // b0, b0, w // b1, b1).transpose(3, 5, 0, 1, 2, 4)
        return parts.reshape(n * b0 * b1, c, h // b0, w // b1)


class batch_to_space(_Batches):
    """The batch to places within each block of space, which is then cropped: the inverse of ``space_to_batch``."""

    crops = Operand(int32, const=True, rank=2)

    def infer(self) -> Type:
        n, c, *space = self.x.shape
        pairs = self._pairs(self._constant("crops"))
        blocks = self.block_shape
        cropped = [d * b - before - after for d, (before, after), b in zip(space, pairs, blocks, strict=True)]
        return self.x.tensor.with_shape(sized((_divided(n, blocks[0] * blocks[1], "the batch"), c, *cropped)))

    def reference(self, x: Array, block_shape: tuple[int, ...], crops: Array) -> Array:
        n, c, h, w = x.shape
        b0, b1 = block_shape
        parts = x.reshape(b0, b1, n // (b0 * b1), c, h, w).transpose(2, 3, 4, 0, 5, 1)
        wide = parts.reshape(n // (b0 * b1), c, h * b0, w * b1)
        (top, bottom), (left, right) = self._pairs(crops)
        return wide[:, :, top : h * b0 - bottom, left : w * b1 - right]


class sliding_windows(_Moves):
    """All windows of ``size`` along ``axis``, ``stride`` apart: ``[…, d, …]`` becomes ``[…, windows, size, …]``."""

    T = TypeVar(fp16, fp32, int32).also(iOS17, int8, int16, uint8, uint16, bool_)

    x = Operand(T)
    axis = Const(int)
    size = Const(int)
    stride = Const(int, default=1)
    traits = (DataMovement,)

    def infer(self) -> Type:
        axis = normalized_axis(self.axis, self.x.rank, self)
        if self.size < 1 or self.stride < 1:
            raise self.misfit("size and stride are positive", actual=f"{self.size} and {self.stride}")
        before, (dim, *after) = self.x.shape[:axis], self.x.shape[axis:]
        return self.x.tensor.with_shape(sized((*before, (dim - self.size) // self.stride + 1, self.size, *after)))

    def reference(self, x: Array, axis: int, size: int, stride: int) -> Array:
        axis = normalized_axis(axis, x.ndim, self)
        windows = np.lib.stride_tricks.sliding_window_view(x, size, axis)  # the window comes last
        kept = windows[(slice(None),) * axis + (slice(None, None, stride),)]
        return np.moveaxis(kept, -1, axis + 1)


OPS = (
    batch_to_space,
    depth_to_space,
    expand_dims,
    pixel_shuffle,
    pixel_unshuffle,
    reshape,
    reshape_like,
    reverse,
    reverse_sequence,
    sliding_windows,
    space_to_batch,
    space_to_depth,
    squeeze,
    transpose,
)
