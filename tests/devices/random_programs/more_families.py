"""Families of ops that work on rows, move data, remember, or decide what runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from gristmill.errors import GristmillError
from gristmill.ir.builder import mb
from gristmill.ir.dims import is_static, product
from gristmill.ir.program import Value
from gristmill.ir.types import TensorType, bool_, fp32, int8, int16, int32, uint8, uint16
from tests.devices.random_programs.families import NUMBERS, of_type
from tests.devices.random_programs.growing import FLOATS, Growing, family

SMALL = (int8, int16, uint8, uint16)
MOVED = (*FLOATS, *FLOATS, int32, bool_, *SMALL)

# --- rows -------------------------------------------------------------------------------------------------------------


@family(3)
def normalize(g: Growing) -> Value:
    x = g.value(ranks=(1, 2, 3, 4, 5))
    match g.choose.randrange(6):
        case 0:
            return mb.softmax(x=x, axis=g.axis(x))
        case 1:
            rank = g.choose.randint(1, x.rank)
            axes = list(range(x.rank - rank, x.rank)) if g.chance(0.8) else g.axes(x)
            shape = [g.sized(x, axis) for axis in sorted(a % x.rank for a in axes)]
            dtype = of_type(g, x.dtype)
            factors = {name: g.numbers(dtype, *shape) for name in ("gamma", "beta") if g.chance(0.7)}
            return mb.layer_norm(x=x, axes=axes, epsilon=0.01, **factors)
        case 2 if x.rank in (3, 4):
            factors = {name: g.numbers(x.dtype, g.sized(x, 1)) for name in ("gamma", "beta") if g.chance(0.7)}
            return mb.instance_norm(x=x, epsilon=0.01, **factors)
        case 3 if x.rank >= 3:
            return mb.l2_norm(x=x, epsilon=0.01)
        case 4 if x.rank >= 3:
            return mb.local_response_norm(x=x, size=g.choose.choice((1, 3, 5)), alpha=0.5, beta=0.75, k=1.0)
    return mb.softmax(x=x, axis=-1)


@family(3)
def attention(g: Growing) -> Value:
    query = g.value(ranks=(3, 4, 4), like=lambda v: v.shape[-1] in range(1, 66))
    *batch, length, width = query.shape
    keys, made = g.any_size(), g.choose.choice((1, 3, 8, 16, 17))
    key = g.input(query.dtype, (*batch, keys, width))
    value = g.input(query.dtype, (*batch, keys, made)) if g.chance(0.8) or key.shape != query.shape else key
    if isinstance(keys, int) and keys > 2 and g.chance(0.4):  # a part of a cache
        first, stride = g.choose.randint(0, 2), g.choose.choice((1, 1, 1, 2))
        begin = [0] * len(batch) + [first, 0]
        step = [g.choose.choice((1, 1, 1, -1)) for _ in batch] + [stride, 1]
        masks = [True] * len(batch) + [False, True]
        cut = {
            "begin": begin,
            "end": [0] * len(batch) + [keys, 0],
            "stride": step,
            "begin_mask": masks,
            "end_mask": masks,
        }
        key, value = mb.slice_by_index(x=key, **cut), mb.slice_by_index(x=value, **cut)
    mask = None
    shape = [1 if g.chance(0.3) else dim for dim in (*batch, length, key.shape[-2])][
        g.choose.choice((0, 0, len(batch))) :
    ]
    match g.choose.randrange(3):
        case 0:
            mask = g.input(of_type(g, query.dtype), shape)
        case 1:  # every query sees something
            mask = mb.greater(x=g.input(query.dtype, shape), y=g.number(query.dtype, -0.5))
            if isinstance(key.shape[-2], int):
                seen = np.zeros((1,) * (len(shape) - 1) + (key.shape[-2],), bool)
                seen[..., :1] = True
                mask = mb.logical_or(x=mask, y=seen)
            else:
                mask = None
    return mb.scaled_dot_product_attention(query=query, key=key, value=value, attn_mask=mask)


REDUCTIONS = ("sum", "mean", "max", "min", "sum_square", "l1_norm", "l2_norm", "log_sum_exp", "prod")


@family(4)
def reduce(g: Growing) -> Value:
    x = g.value(NUMBERS, ranks=(1, 2, 3, 4, 5))
    names = REDUCTIONS if x.dtype.is_float else ("sum", "max", "min")
    axes = None if g.chance(0.1) else g.axes(x)
    return mb.op(f"reduce_{g.choose.choice(names)}", x=x, axes=axes, keep_dims=g.chance())


@family(1.5)
def order(g: Growing) -> Any:
    x = g.value(NUMBERS, ranks=(1, 2, 3, 4), exact=True)
    axis = g.axis(x)
    match g.choose.randrange(4):
        case 0:
            return mb.reduce_argmax(x=x, axis=axis, keep_dims=g.chance())
        case 1:
            return mb.reduce_argmin(x=x, axis=axis, keep_dims=g.chance())
        case 2:
            return mb.argsort(x=x, axis=axis, ascending=g.chance())
    return mb.topk(x=x, k=g.choose.randint(1, max(1, g.least(x, axis))), axis=axis, ascending=g.chance())


@family(1)
def running_sum(g: Growing) -> Value:
    x = g.value(NUMBERS, ranks=(1, 2, 3, 4))
    return mb.cumsum(x=x, axis=g.axis(x), exclusive=g.chance(), reverse=g.chance())


# --- movement ---------------------------------------------------------------------------------------------------------


def moved(g: Growing, ranks: Any = (1, 2, 3, 4, 5)) -> Value:
    return g.value(MOVED, ranks=ranks)


@family(4)
def transpose(g: Growing) -> Value:
    x = moved(g)
    perm = list(range(x.rank))
    g.choose.shuffle(perm)
    if x.rank > 2 and g.chance(0.3):  # to the order in which images are kept, and back
        perm = [0, *range(2, x.rank), 1] if g.chance() else [0, x.rank - 1, *range(1, x.rank - 1)]
    return mb.transpose(x=x, perm=perm)


@family(4)
def rename(g: Growing) -> Value:
    x = moved(g, range(6))
    match g.choose.randrange(7):
        case 6:
            same = [
                v for v in g.pool if v.rank and is_static((*v.shape, *x.shape)) and product(v.shape) == product(x.shape)
            ]
            if same:
                to = g.choose.choice(same)
                return mb.reshape_like(x=x, ref_tensors=[to], begins=[0], ends=[to.rank], end_masks=[False])
            return mb.fill(shape=np.array([2, 3], np.int32), value=g.number(x.dtype, 1))
        case 0:
            return mb.expand_dims(x=x, axes=[g.choose.randint(0, x.rank)])
        case 1:
            return mb.squeeze(x=x)
        case 2:
            return mb.flatten2d(x=x, axis=g.choose.randint(0, x.rank))
        case 3:
            return mb.identity(x=x)
    dims = list(x.shape)
    if len(dims) > 1 and g.chance():
        axis = g.choose.randrange(len(dims) - 1)
        dims[axis : axis + 2] = [dims[axis] * dims[axis + 1]]
    elif dims and isinstance(dims[0], int) and dims[0] % 2 == 0:
        dims[:1] = [2, dims[0] // 2]
    else:
        g.choose.shuffle(dims)
    unknown = [axis for axis, dim in enumerate(dims) if not isinstance(dim, int)]
    if len(unknown) > 1:
        return mb.identity(x=x)
    return mb.reshape(x=x, shape=[-1 if axis in unknown else dim for axis, dim in enumerate(dims)])


@family(4)
def cut(g: Growing) -> Value:
    x = moved(g)
    begin, end, stride, masks = [], [], [], ([], [], [])
    for axis in range(x.rank):
        size = g.least(x, axis)
        low, high = sorted(g.choose.randint(0, size) for _ in "be")
        back = g.chance(0.2)
        if back and low == 0:
            low = 1
        begin.append(high - 1 if back else low)
        end.append(low - 1 if back else high)
        stride.append((-1 if back else 1) * g.choose.choice((1, 1, 1, 2, 3)))
        whole = g.chance(0.5)
        masks[0].append(whole or (back and high == 0))
        masks[1].append(whole or g.chance(0.2))
        masks[2].append(not whole and low < high and g.chance(0.15))
    if g.chance(0.3):
        begin = [b - g.least(x, a) if isinstance(x.shape[a], int) and b >= 0 else b for a, b in enumerate(begin)]
    return mb.slice_by_index(
        x=x, begin=begin, end=end, stride=stride, begin_mask=masks[0], end_mask=masks[1], squeeze_mask=masks[2]
    )


@family(1)
def cut_by_size(g: Growing) -> Value:
    x = moved(g)
    begin = [g.choose.randint(0, g.least(x, axis)) for axis in range(x.rank)]
    size = [-1 if g.chance() else g.choose.randint(0, g.least(x, a) - b) for a, b in enumerate(begin)]
    return mb.slice_by_size(x=x, begin=begin, size=size)


@family(3)
def parts(g: Growing) -> Any:
    x = moved(g)
    axis = g.axis(x)
    size = g.sized(x, axis)
    if size % 2 == 0 and g.chance():
        return mb.split(x=x, num_splits=2, axis=axis)
    first = g.choose.randint(0, size)
    return mb.split(x=x, split_sizes=[first, size - first], axis=axis)


@family(4)
def join(g: Growing) -> Value:
    x = moved(g)
    axis = g.choose.randrange(x.rank)
    alike = [
        v
        for v in g.pool
        if v.dtype == x.dtype
        and v.rank == x.rank
        and all(a == b for k, (a, b) in enumerate(zip(v.shape, x.shape, strict=True)) if k != axis)
    ]
    same = [v for v in alike if v.shape == x.shape]
    if g.chance(0.25):
        return mb.stack(
            values=[x, *g.choose.choices(same, k=g.choose.choice((0, 1, 2)))], axis=g.choose.randint(0, x.rank)
        )
    if g.chance(0.15):
        return mb.concat(values=[x, *g.choose.choices(same, k=1)], axis=axis, interleave=True)
    values = [x, *g.choose.choices(alike, k=g.choose.choice((1, 1, 2, 3)))]
    if all(isinstance(dim, int) for dim in x.shape) and g.chance(0.2):
        values.append(g.numbers(x.dtype, *x.shape))
    g.choose.shuffle(values)
    return mb.concat(values=values, axis=axis - x.rank * g.chance(0.3))


@family(2)
def pad(g: Growing) -> Value:
    x = g.value(ranks=(1, 2, 3, 4, 5))
    mode = g.choose.choice(("constant", "constant", "reflect", "replicate"))
    padded = range(x.rank) if mode == "constant" else range(max(0, x.rank - 2), x.rank)
    most = [{"constant": 5, "replicate": 5 * (size > 0), "reflect": size - 1}[mode] for size in g.leasts(x)]
    amounts = [g.choose.randint(0, min(5, max(0, most[axis]))) for axis in padded for _ in ("before", "after")]
    return mb.pad(x=x, pad=amounts, mode=mode, **({"constant_val": 1.5} if mode == "constant" and g.chance() else {}))


@family(2)
def repeat(g: Growing) -> Value:
    x = moved(g)
    match g.choose.randrange(4):
        case 0:
            return mb.reverse(x=x, axes=None if g.chance(0.2) else g.axes(x))
        case 1 if x.rank >= 2:
            return mb.band_part(x=x, lower=g.choose.choice((-1, 0, 1, 3)), upper=g.choose.choice((-1, 0, 2)))
        case 2:
            return mb.fill_like(ref_tensor=x, value=g.number(fp32, 1.5))
    return mb.tile(x=x, reps=[g.choose.choice((1, 1, 2, 3)) for _ in range(x.rank)])


@family(1)
def windows_of(g: Growing) -> Value:
    x = moved(g, (1, 2, 3))
    axis = g.axis(x)
    size = g.choose.randint(1, max(1, g.least(x, axis)))
    return mb.sliding_windows(x=x, axis=axis, size=size, stride=g.choose.choice((1, 2)))


@family(1)
def sizes(g: Growing) -> Value:
    """Integers that the program computes from shapes, and what is shaped by them."""
    x = moved(g)
    shape = mb.shape(x=x)
    match g.choose.randrange(6):
        case 0:
            return shape
        case 1:
            made = mb.floor_div(x=mb.mul(x=mb.add(x=shape, y=np.int32(3)), y=np.int32(5)), y=np.int32(2))
            return mb.cast(x=made, dtype=g.choose.choice(("int8", "uint8", "fp16", "fp32", "bool")))
        case 2:
            one = mb.gather(x=shape, indices=np.array([0], np.int32), axis=0)
            return mb.maximum(x=mb.concat(values=[one, shape], axis=0), y=mb.cast(x=one, dtype="int32"))
        case 3:
            return mb.add(x=mb.cast(x=shape, dtype="fp32"), y=mb.reduce_sum(x=g.value((fp32,), (1,)), axes=[0]))
    whole = mb.reshape(x=x, shape=mb.reduce_prod(x=shape, axes=[0], keep_dims=True))
    return mb.reshape(x=mb.relu(x=whole), shape=shape) if x.dtype in FLOATS else whole


# --- indices ----------------------------------------------------------------------------------------------------------


def places(g: Growing, size: int, *shape: Any) -> Value:
    """Indices into a dimension, as an input or computed from one; a few beyond its end."""
    if size == 0:
        raise GristmillError("nothing to choose from")
    found = g.input(int32, shape)
    held = g.arrays[found]
    g.arrays[found] = g.rng.integers(-size, size, held.shape).astype(np.int32)
    if g.chance(0.2):
        return mb.minimum(x=found, y=np.int32(size - 1))
    return found


def narrow(g: Growing, indices: Value) -> Value:
    """The same indices in another type, now and then."""
    return mb.cast(x=indices, dtype=g.choose.choice(("int8", "int16", "uint8", "uint16"))) if g.chance(0.2) else indices


@family(4)
def gather(g: Growing) -> Value:
    x = g.value((*NUMBERS, *FLOATS, *SMALL), ranks=(1, 2, 3, 4))
    axis = g.axis(x)
    size = g.least(x, axis)
    match g.choose.randrange(4):
        case 0:
            dims = list(x.shape)
            dims[axis] = g.any_size()
            return mb.gather_along_axis(x=x, indices=narrow(g, places(g, size, *dims)), axis=axis)
        case 1:
            depth = g.choose.randint(1, x.rank)
            least = min(g.least(x, k) for k in range(depth))
            return mb.gather_nd(x=x, indices=places(g, least, g.any_size(), depth))
        case 2 if axis % x.rank > 0:
            return mb.gather(x=x, indices=places(g, size, x.shape[0], g.any_size()), axis=axis, batch_dims=1)
    shape = g.choose.choice(((), (g.any_size(),), (2, g.any_size())))
    return mb.gather(x=x, indices=narrow(g, places(g, size, *shape)), axis=axis)


@family(1)
def embed(g: Growing) -> Value:
    """Rows of a table, which is now and then a product's weight too."""
    rows, width = g.choose.choice((3, 17, 40)), g.choose.choice((1, 8, 17))
    weight = mb.const(g.numbers(g.dtype, rows, width))
    found = mb.gather(x=weight, indices=places(g, rows, g.any_size()), axis=0)
    return mb.linear(x=activation_of(g, found), weight=weight) if g.chance() else found


def activation_of(g: Growing, x: Value) -> Value:
    g.pool.append(x)
    g.array(x)
    return mb.tanh(x=x)


@family(2)
def scatter(g: Growing) -> Value:
    data = g.value(NUMBERS, ranks=(1, 2, 3, 4))
    mode = g.choose.choice(("update", "add", "sub", "mul", "max", "min"))
    axis = g.axis(data)
    size = g.least(data, axis)
    match g.choose.randrange(3):
        case 0:
            dims = list(data.shape)
            dims[axis] = g.choose.choice((1, 2, 3, 8))
            updates = g.input(data.dtype, dims)
            return mb.scatter_along_axis(
                data=data, indices=places(g, size, *dims), updates=updates, axis=axis, mode=mode
            )
        case 1:
            count, depth = g.choose.choice((1, 3, 8)), g.choose.randint(1, data.rank)
            least = min(g.least(data, k) for k in range(depth))
            updates = g.input(data.dtype, (count, *data.shape[depth:]))
            return mb.scatter_nd(data=data, indices=places(g, least, count, depth), updates=updates, mode=mode)
    count = g.choose.choice((1, 2, 5))
    at = axis % data.rank
    updates = g.input(data.dtype, (*data.shape[:at], count, *data.shape[at + 1 :]))
    return mb.scatter(data=data, indices=places(g, size, count), updates=updates, axis=axis, mode=mode)


@family(1)
def slice_update(g: Growing) -> Value:
    x = g.value(NUMBERS, ranks=(1, 2, 3, 4))
    begin = [g.choose.randint(0, max(0, g.least(x, axis) - 1)) for axis in range(x.rank)]
    end = [b + g.choose.randint(0, g.least(x, axis) - b) for axis, b in enumerate(begin)]
    update = g.input(x.dtype, [e - b for b, e in zip(begin, end, strict=True)])
    return mb.slice_update(x=x, update=update, begin=begin, end=end)


@family(1)
def one_hot(g: Growing) -> Value:
    indices = g.value((int32,), ranks=(0, 1, 2, 3))
    values = {"on_value": g.number(fp32, 2.5), "off_value": g.number(fp32, -1.0)} if g.chance() else {}
    return mb.one_hot(
        indices=indices,
        one_hot_vector_size=g.choose.choice((1, 3, 8, 17)),
        axis=g.choose.randint(-1, indices.rank),
        **values,
    )


@family(0.7)
def where(g: Growing) -> Value:
    """How many there are is known only when the program runs."""
    return mb.non_zero(x=g.value((bool_, int32), ranks=(1, 2, 3)))


# --- what remembers ---------------------------------------------------------------------------------------------------

ACTIVATIONS = ("sigmoid", "tanh", "relu", "hard_sigmoid", "softsign")


@family(2)
def recurrent(g: Growing) -> Any:
    x = g.value(ranks=(3,), like=lambda v: v.shape[2] in range(1, 66))
    _, batch, width = x.shape
    hidden = g.choose.choice((1, 3, 8, 16, 17))
    kind = g.choose.choice(("rnn", "gru", "lstm", "lstm"))
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[kind]
    how: dict[str, Any] = {"output_sequence": g.chance(), "direction": g.choose.choice(("forward", "reverse"))}

    def weights(suffix: str = "") -> None:
        how["weight_ih" + suffix] = g.numbers(x.dtype, gates * hidden, g.sized(x, 2), scale=width**-0.5)
        how["weight_hh" + suffix] = g.numbers(x.dtype, gates * hidden, hidden, scale=hidden**-0.5)
        if g.chance():
            how["bias" + suffix] = g.numbers(x.dtype, gates * hidden)
        if kind == "lstm" and g.chance(0.3):
            how["peephole" + suffix] = g.numbers(x.dtype, 3 * hidden)

    weights()
    both = kind == "lstm" and g.chance(0.4)
    if both:
        how["direction"] = "bidirectional"
        weights("_back")
    state = (batch, hidden * (2 if both else 1))
    how["initial_h"] = g.input(x.dtype, state)
    if kind == "lstm":
        how["initial_c"] = g.input(x.dtype, state)
        how["clip"] = 0.75 if g.chance(0.2) else None
    if kind == "gru":
        how["reset_after"] = g.chance()
        how["input_bias"] = g.numbers(x.dtype, 3 * hidden) if g.chance(0.3) else None
    for name in ("activation", "recurrent_activation", "cell_activation")[: {"rnn": 1, "gru": 2, "lstm": 3}[kind]]:
        if g.chance(0.2):
            # What multiplies a state is bounded: squared at each step it would leave float32, and where a device that
            # computes in float64 then has infinity, one that computes in float32 may have no number.
            how[name] = g.choose.choice([a for a in ACTIVATIONS if name != "recurrent_activation" or a != "relu"])
    return mb.op(kind, x=x, **how)


@family(1.5)
def state(g: Growing) -> Any:
    """Contents of a state, read, replaced in whole or in part, and read again."""
    rows, width = g.choose.choice((2, 5, 8)), g.choose.choice((1, 4, 17))
    cell = g.state(g.dtype, (rows, width))
    before = mb.read_state(input=cell)
    made = [before] if g.chance(0.3) else []
    for _ in range(g.choose.choice((1, 1, 2))):
        at = g.choose.randrange(rows)
        row = (
            g.value((g.dtype,), (2,), exact=True, like=lambda v: v.shape == (1, width))
            if g.chance()
            else g.input(g.dtype, (1, width))
        )
        match g.choose.randrange(3):
            case 0:
                after = mb.slice_update(x=before, update=row, begin=[at, 0], end=[at + 1, width])
            case 1:
                after = mb.scatter(data=before, indices=places(g, rows, 1), updates=row, axis=0, mode="update")
            case _:
                after = mb.concat(values=[mb.slice_by_size(x=before, begin=[1, 0], size=[-1, -1]), row], axis=0)
        if g.chance():
            before = mb.coreml_update_state(state=cell, value=after)
        else:
            mb.write_state(input=cell, data=after)
            before = mb.read_state(input=cell)
        if g.chance(0.3):
            made.append(before)
    made.append(mb.reduce_max(x=before, axes=[0]))
    return made


# --- what decides -----------------------------------------------------------------------------------------------------


def body(g: Growing, x: Value) -> Value:
    """A few ops that keep a type."""
    for _ in range(g.choose.randint(0, 3)):
        match g.choose.randrange(4):
            case 0:
                x = mb.tanh(x=x)
            case 1:
                x = mb.mul(x=x, y=g.number(x.dtype, 0.5))
            case 2:
                found = [v for v in g.pool if v.dtype == x.dtype and v.shape == x.shape]
                x = mb.add(x=x, y=g.choose.choice(found)) if found else mb.relu(x=x)
            case 3 if x.rank >= 2 and isinstance(x.shape[-1], int):
                size = g.sized(x, -1)
                x = mb.linear(x=x, weight=g.numbers(x.dtype, size, size, scale=max(1, size) ** -0.5))
    return x


@family(1.5)
def either(g: Growing) -> Value:
    x = g.value()
    truth = mb.greater(x=g.input(int32, ()), y=np.int32(0))
    with mb.nested() as yes:
        mb.output(body(g, x))
    with mb.nested() as no:
        mb.output(body(g, x) if g.chance() else x)
    return mb.op("cond", pred=truth, blocks=[yes, no])


@family(1.5)
def loop(g: Growing) -> Value:
    x = g.value()
    rounds = g.choose.randint(0, 3)
    kinds = {"i": TensorType(int32, ()), "v": x.type}
    with mb.nested(kinds) as condition:
        mb.output(mb.less(x=condition.arguments[0], y=np.int32(rounds)))
    with mb.nested(kinds) as turn:
        count, held = turn.arguments
        mb.output(mb.add(x=count, y=np.int32(1)), body(g, held))
    _, result = mb.op("while_loop", loop_vars=[mb.const(np.int32(0)), x], blocks=[condition, turn])
    return result
