"""Products of matrices and vectors."""

from __future__ import annotations

from collections.abc import Sequence

from gristmill.frontends.torch.context import Complex, Context, Number, is_constant
from gristmill.frontends.torch.registry import lowers
from gristmill.ir import types
from gristmill.ir.program import Value


@lowers("aten.linear.default")
def linear(ctx: Context, x: Value, weight: Value, bias: Value | None) -> Value:
    """``x·Wᵀ + b``; Core ML's op wants constants and at least rank 2."""
    dtype = ctx.dtype
    x = ctx.cast(x, dtype)
    weight, bias = _constant(ctx, weight), _constant(ctx, bias) if bias is not None else None
    if is_constant(weight) and (bias is None or is_constant(bias)) and x.rank >= 2 and weight.rank == 2:
        return ctx.mb.linear(x=x, weight=weight, bias=bias)
    if weight.rank == 1:
        y = product(ctx, x, weight)
    elif x.rank == 1:
        y = ctx.mb.matmul(x=ctx.mb.expand_dims(x=x, axes=[0]), y=weight, transpose_y=True)
        y = ctx.mb.squeeze(x=y, axes=[0])
    else:
        y = ctx.mb.matmul(x=x, y=weight, transpose_y=True)
    return y if bias is None else ctx.mb.add(x=y, y=bias)


def _constant(ctx: Context, x: Value) -> Value:
    found = ctx.constant_operand(x)
    assert found is not None
    return found


@lowers("aten._int_mm.default")
def integer_product(ctx: Context, x: Value, y: Value) -> Value:
    """A product of bytes, summed exactly in 32 bits."""
    return ctx.mb.matmul(x=ctx.cast(x, types.int32), y=ctx.cast(y, types.int32))


def product(ctx: Context, x: Value, y: Value) -> Value:
    """``torch.matmul``: vectors are rows on the left and columns on the right; the added axis goes again."""
    left, right = x.rank == 1, y.rank == 1
    if left:
        x = ctx.mb.expand_dims(x=x, axes=[0])
    if right:
        y = ctx.mb.expand_dims(x=y, axes=[1])
    z = ctx.mb.matmul(x=x, y=y)
    gone = ([-2] if left else []) + ([-1] if right else [])
    return ctx.mb.squeeze(x=z, axes=[axis % z.rank for axis in gone]) if gone else z


@lowers(
    "aten.matmul.default",
    "aten.mm.default",
    "aten.bmm.default",
    "aten.mv.default",
    "aten.dot.default",
    "aten.vdot.default",
    "aten.linalg_matmul.default",
)
def matmul(ctx: Context, x: Value | Complex, y: Value | Complex) -> Value | Complex:
    if isinstance(x, Complex) or isinstance(y, Complex):
        return _complex_matmul(ctx, x, y)
    return ctx.wrap(product(ctx, ctx.cast(x, ctx.dtype), ctx.cast(y, ctx.dtype)))


def _complex_matmul(ctx: Context, x: Value | Complex, y: Value | Complex) -> Complex:
    if not isinstance(x, Complex):
        assert isinstance(y, Complex)
        return Complex(product(ctx, x, y.real), product(ctx, x, y.imag))
    if not isinstance(y, Complex):
        return Complex(product(ctx, x.real, y), product(ctx, x.imag, y))
    real = ctx.mb.sub(x=product(ctx, x.real, y.real), y=product(ctx, x.imag, y.imag))
    return Complex(real, ctx.mb.add(x=product(ctx, x.real, y.imag), y=product(ctx, x.imag, y.real)))


@lowers("aten.addmm.default", "aten.baddbmm.default", "aten.addmv.default", "aten.addbmm.default", "aten.addr.default")
def add_product(ctx: Context, x: Value, a: Value, b: Value, *, beta: Number = 1, alpha: Number = 1) -> Value:
    """``β·x + α·(a @ b)``; a ``β`` of 0 drops x, even a NaN in it."""
    dtype = ctx.dtype
    a, b = ctx.cast(a, dtype), ctx.cast(b, dtype)
    if ".addr" in ctx.operator:
        y = ctx.mb.mul(x=ctx.mb.expand_dims(x=a, axes=[1]), y=ctx.mb.expand_dims(x=b, axes=[0]))
    else:
        y = product(ctx, a, b)
    if ".addbmm" in ctx.operator:
        y = ctx.mb.reduce_sum(x=y, axes=[0], keep_dims=False)
    if alpha != 1:
        y = ctx.mb.mul(x=y, y=ctx.number(alpha, dtype))
    if beta == 0:
        return y
    x = ctx.cast(x, dtype)
    if beta != 1:
        x = ctx.mb.mul(x=x, y=ctx.number(beta, dtype))
    return ctx.wrap(ctx.mb.add(x=y, y=x))


@lowers("aten.outer.default", "aten.ger.default")
def outer(ctx: Context, x: Value, y: Value) -> Value:
    x, y = ctx.cast(x, ctx.dtype), ctx.cast(y, ctx.dtype)
    return ctx.wrap(ctx.mb.mul(x=ctx.mb.expand_dims(x=x, axes=[1]), y=ctx.mb.expand_dims(x=y, axes=[0])))


@lowers("aten.linalg_vecdot.default")
def vecdot(ctx: Context, x: Value, y: Value, *, dim: int = -1) -> Value:
    z = ctx.mb.mul(x=ctx.cast(x, ctx.dtype), y=ctx.cast(y, ctx.dtype))
    return ctx.mb.reduce_sum(x=z, axes=[dim % z.rank], keep_dims=False)


@lowers("aten._trilinear.default")
def trilinear(
    ctx: Context,
    x: Value,
    y: Value,
    z: Value,
    axes_x: Sequence[int],
    axes_y: Sequence[int],
    axes_z: Sequence[int],
    summed: Sequence[int],
    *ignored: object,
) -> Value:
    """The sum over some axes of the product of three tensors, each with the axes that it lacks put in."""
    a, b, c = (
        ctx.mb.expand_dims(x=value, axes=list(axes)) if axes else value
        for value, axes in ((x, axes_x), (y, axes_y), (z, axes_z))
    )
    product = ctx.mb.mul(x=ctx.mb.mul(x=a, y=b), y=c)
    return ctx.mb.reduce_sum(x=product, axes=list(summed), keep_dims=False) if summed else product


@lowers("aten.einsum.default")
def einsum(ctx: Context, equation: str, operands: Sequence[Value], path: object = None) -> Value:
    """Contracts two operands at a time by matrix products of batch × rows × columns."""
    inputs, _, output = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if "->" not in equation:
        letters = inputs.replace(",", "").replace(".", "")
        output = ("..." if "..." in inputs else "") + "".join(c for c in sorted(set(letters)) if letters.count(c) == 1)
    terms, output = _named_ellipses(terms, output, [value.rank for value in operands])
    dtype = ctx.dtype if ctx.dtype != types.bool_ else types.int32
    values = [ctx.cast(value, dtype) for value in operands]
    x, labels = _without_repeats(ctx, values[0], terms[0])
    for place in range(1, len(values)):
        y, other = _without_repeats(ctx, values[place], terms[place])
        later = set(output).union(*terms[place + 1 :])
        x, labels = _contract(ctx, x, labels, y, other, later)
    x, labels = _summed(ctx, x, labels, set(output))
    return ctx.cast(ctx.transpose(x, [labels.index(c) for c in output]), ctx.dtype)


def _named_ellipses(terms: list[str], output: str, ranks: list[int]) -> tuple[list[str], str]:
    """Letters in place of ``...``, counted from the right, so that broadcasting aligns them."""
    used = set("".join(terms)) | set(output)
    free = [chr(code) for code in range(ord("A"), ord("z") + 1) if chr(code).isalpha() and chr(code) not in used]
    widest = 0
    named = []
    for term, rank in zip(terms, ranks, strict=True):
        count = rank - len(term.replace("...", "")) if "..." in term else 0
        widest = max(widest, count)
        named.append(term.replace("...", "".join(reversed(free[:count]))))
    return named, output.replace("...", "".join(reversed(free[:widest])))


def _without_repeats(ctx: Context, x: Value, term: str) -> tuple[Value, str]:
    """The diagonal where a letter stands twice."""
    while len(set(term)) < len(term):
        letter = next(c for c in term if term.count(c) > 1)
        first = term.index(letter)
        second = term.index(letter, first + 1)
        x = diagonal_of(ctx, x, first, second)
        term = term[:first] + term[first + 1 : second] + term[second + 1 :] + letter
    return x, term


def diagonal_of(ctx: Context, x: Value, first: int, second: int, offset: int = 0) -> Value:
    """Elements at (i, i + offset) of two axes, as a new last axis."""
    rest = [axis for axis in range(x.rank) if axis not in (first, second)]
    rows, columns = x.shape[first], x.shape[second]
    x = ctx.transpose(x, [*rest, first, second])
    if not isinstance(rows, int) or not isinstance(columns, int):
        return _diagonal_of_any_size(ctx, x, offset)
    begin = (max(-offset, 0), max(offset, 0))
    count = max(min(rows - begin[0], columns - begin[1]), 0)
    flat = ctx.reshape(x, [*[ctx.size(x, axis) for axis in range(len(rest))], rows * columns])
    start = begin[0] * columns + begin[1]
    if count == 0:
        return ctx.slice(flat, -1, 0, 0)
    return ctx.slice(flat, -1, start, start + (count - 1) * (columns + 1) + 1, columns + 1)


def _diagonal_of_any_size(ctx: Context, x: Value, offset: int) -> Value:
    """Elements at (i, i + offset) of the last two axes of ``x``."""
    x = ctx.slice(ctx.slice(x, -2, max(-offset, 0)), -1, max(offset, 0))
    sizes = ctx.sizes(x)
    length = ctx.mb.minimum(x=ctx.size(x, -2), y=ctx.size(x, -1))
    places = ctx.mb.range_1d(start=0, end=length, step=1)
    column = sizes[-1] + 1 if isinstance(sizes[-1], int) else ctx.mb.add(x=sizes[-1], y=1)
    flat = ctx.mb.reshape(x=x, shape=ctx.vector([*sizes[:-2], -1]))
    diagonal: Value = ctx.mb.gather(x=flat, indices=ctx.mb.mul(x=places, y=column), axis=-1)
    return diagonal


def _summed(ctx: Context, x: Value, labels: str, wanted: set[str]) -> tuple[Value, str]:
    gone = [axis for axis, letter in enumerate(labels) if letter not in wanted]
    if gone:
        x = ctx.mb.reduce_sum(x=x, axes=gone, keep_dims=False)
    return x, "".join(letter for letter in labels if letter in wanted)


def _contract(ctx: Context, x: Value, left: str, y: Value, right: str, later: set[str]) -> tuple[Value, str]:
    """One matrix product: shared letters that are still needed are its batch, the other shared ones are summed."""
    x, left = _summed(ctx, x, left, later | set(right))
    y, right = _summed(ctx, y, right, later | set(left))
    batch = [c for c in left if c in right and c in later]
    summed = [c for c in left if c in right and c not in later]
    rows = [c for c in left if c not in right]
    columns = [c for c in right if c not in left]
    if not summed:
        return _outer(ctx, x, left, y, right)
    a = ctx.transpose(x, [left.index(c) for c in batch + rows + summed])
    b = ctx.transpose(y, [right.index(c) for c in batch + summed + columns])
    row_sizes = [ctx.size(a, len(batch) + k) for k in range(len(rows))]
    column_sizes = [ctx.size(b, len(batch) + len(summed) + k) for k in range(len(columns))]
    a = _merged(ctx, a, len(batch), len(rows), len(summed))
    b = _merged(ctx, b, len(batch), len(summed), len(columns))
    z = ctx.mb.matmul(x=a, y=b)
    batch_sizes = [ctx.size(z, axis) for axis in range(len(batch))]
    if len(rows) != 1 or len(columns) != 1:
        z = ctx.reshape(z, [*batch_sizes, *row_sizes, *column_sizes])
    return z, "".join(batch + rows + columns)


def _merged(ctx: Context, x: Value, batch: int, first: int, second: int) -> Value:
    """Two groups of axes after the batch become one axis each."""
    if first == second == 1:
        return x
    shape = ctx.sizes(x)

    def joined(part: Sequence[object]) -> object:
        total: object = 1
        for size in part:
            if isinstance(size, int) and isinstance(total, int):
                total = total * size
            else:
                total = ctx.mb.mul(x=total, y=size)
        return total

    groups = [joined(shape[batch : batch + first]), joined(shape[batch + first :])]
    return ctx.reshape(x, [*shape[:batch], *groups])  # type: ignore[list-item]  # products of sizes are sizes


def _outer(ctx: Context, x: Value, left: str, y: Value, right: str) -> tuple[Value, str]:
    labels = left + "".join(c for c in right if c not in left)
    new = [len(left) + k for k in range(len(labels) - len(left))]
    a = ctx.mb.expand_dims(x=x, axes=new) if new else x
    b = ctx.transpose(y, [right.index(c) for c in labels if c in right])
    missing = [axis for axis, letter in enumerate(labels) if letter not in right]
    b = ctx.mb.expand_dims(x=b, axes=missing) if missing else b
    return ctx.mb.mul(x=a, y=b), labels
