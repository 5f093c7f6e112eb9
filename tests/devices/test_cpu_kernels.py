"""The CPU device's kernels at sizes that reach every path: blocks, remainders, few rows, broadcasting."""

import numpy as np
import pytest
import torch

from gristmill.devices.cpu import CpuDevice
from gristmill.devices.cpu.plan import NativeStep
from gristmill.devices.reference import ReferenceDevice
from gristmill.errors import ExecutionError
from gristmill.ir.builder import mb
from gristmill.ir.dims import symbol
from gristmill.ir.opset import iOS16, iOS18
from gristmill.ir.program import Program
from gristmill.ir.types import StateType, TensorType, bool_, fp16, fp32, int32
from gristmill.runtime.session import Session

RNG = np.random.default_rng(7)


def _program(make, opset=iOS18, **types: TensorType) -> Program:
    program = Program()
    with mb.function(program, "main", types, opset) as values:
        mb.output(make(*values))
    return program


def _run(program: Program, device=None, **inputs: np.ndarray) -> np.ndarray:
    (result,) = Session(program.main, device or CpuDevice()).run(inputs).values()
    return result


def _is_native(program: Program) -> bool:
    return all(isinstance(step, NativeStep) for step in CpuDevice().prepare(program.main).plan.steps)


# One and four queries take the path without packing; 5, 49 and 130 blocks of 48. Keys: one block is 256.
@pytest.mark.parametrize("queries", [1, 4, 5, 49, 130])
@pytest.mark.parametrize("keys", [1, 7, 256, 257, 600])
@pytest.mark.parametrize("dtype", [fp16, fp32])
def test_attention_is_the_formula_at_any_length(queries, keys, dtype):
    """Against PyTorch in float64. Scores are sums of 40 products whose magnitudes add up to about 30/√40."""
    q, k = RNG.normal(size=(2, 3, queries, 40)), RNG.normal(size=(2, 3, keys, 40))
    v, mask = RNG.normal(size=(2, 3, keys, 24)), RNG.random((2, 1, queries, keys)) < 0.8
    mask[..., 0] = True
    arrays = [array.astype(dtype.numpy) for array in (q, k, v)]
    types = {name: TensorType(dtype, a.shape) for name, a in zip("qkv", arrays, strict=True)}
    program = _program(
        lambda q, k, v, m: mb.scaled_dot_product_attention(query=q, key=k, value=v, attn_mask=m),
        **types,
        m=TensorType(bool_, mask.shape),
    )
    assert _is_native(program)
    got = _run(program, q=arrays[0], k=arrays[1], v=arrays[2], m=mask)
    wide = [torch.from_numpy(array.astype(np.float64)) for array in arrays]
    wanted = torch.nn.functional.scaled_dot_product_attention(*wide, attn_mask=torch.from_numpy(mask)).numpy()
    score = 4 * np.sqrt(40) * 2.0**-24 * 30  # the contract's bound: a weight's relative error
    largest = np.abs(arrays[2].astype(np.float64)).max()
    bound = (2 * score + 4 * np.sqrt(keys) * 2.0**-24) * largest
    rounding = np.spacing(np.abs(wanted).astype(dtype.numpy)).astype(np.float64)
    assert (np.abs(got.astype(np.float64) - wanted) <= bound + rounding).all()


def test_a_block_of_keys_that_nobody_may_see_changes_nothing():
    """The running maximum stays -∞ through the first block; only all keys hidden give NaN."""
    q, k, v = RNG.normal(size=(1, 6, 8)), RNG.normal(size=(1, 300, 8)), RNG.normal(size=(1, 300, 8))
    mask = np.zeros((1, 6, 300), bool)
    mask[:, :5, 290:] = True
    q, k, v = (array.astype(np.float32) for array in (q, k, v))
    types = {name: TensorType(fp32, a.shape) for name, a in (("q", q), ("k", k), ("v", v))}
    program = _program(
        lambda q, k, v, m: mb.scaled_dot_product_attention(query=q, key=k, value=v, attn_mask=m),
        **types,
        m=TensorType(bool_, mask.shape),
    )
    got = _run(program, q=q, k=k, v=v, m=mask)
    alone = _run(program, ReferenceDevice(), q=q, k=k, v=v, m=mask)
    np.testing.assert_allclose(got[:, :5], alone[:, :5], rtol=1e-5, atol=1e-6)
    assert np.isnan(got[:, 5]).all()


@pytest.mark.parametrize(("x", "y"), [((3, 5, 7), (3, 7, 4)), ((2, 3, 70, 300), (3, 300, 33)), ((1, 1, 9), (4, 9, 2))])
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("dtype", [fp16, fp32])
def test_products_of_two_activations(x, y, transposed, dtype):
    """Leading sizes broadcast and either side may lie transposed: at most 4·√K·2⁻²⁴·Σ|aᵢbᵢ| from the exact sum."""
    a, b = RNG.normal(size=x).astype(dtype.numpy), RNG.normal(size=y).astype(dtype.numpy)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    size = np.abs(a.astype(np.float64)) @ np.abs(b.astype(np.float64))
    given = [m.swapaxes(-1, -2).copy() if turned else m for m, turned in zip((a, b), transposed, strict=True)]
    types = {name: TensorType(dtype, m.shape) for name, m in zip("xy", given, strict=True)}
    program = _program(
        lambda x, y: mb.relu(x=mb.matmul(x=x, y=y, transpose_x=transposed[0], transpose_y=transposed[1])), **types
    )
    assert _is_native(program)
    got = _run(program, x=given[0], y=given[1]).astype(np.float64)
    rounding = np.spacing(np.abs(exact).astype(dtype.numpy)).astype(np.float64)
    bound = 4 * np.sqrt(x[-1]) * 2.0**-24 * size + rounding
    assert (np.abs(got - np.maximum(exact, 0)) <= bound).all()


SHAPE = (3, 20, 5, 37)


@pytest.mark.parametrize("perm", [(0, 2, 3, 1), (3, 2, 1, 0), (1, 0, 2, 3), (0, 1, 3, 2), (2, 3, 0, 1)])
@pytest.mark.parametrize("dtype", [fp16, fp32, bool_])
def test_transposes_move_every_element(perm, dtype):
    """Elements of 1, 2 and 4 bytes, in blocks and with remainders."""
    x = (RNG.normal(size=SHAPE) * 2).astype(dtype.numpy)
    program = _program(lambda x: mb.transpose(x=x, perm=perm), x=TensorType(dtype, SHAPE))
    np.testing.assert_array_equal(_run(program, x=x), x.transpose(perm))


SLICES = {
    "forward": ({"begin": [0, 3, 1, 30], "end": [3, 20, 4, 37], "stride": [1, 4, 1, 2]}, np.s_[:, 3::4, 1:4, 30:37:2]),
    "backward": (
        {"begin": [2, -1, 0, -2], "end": [0, 2, 5, 0], "stride": [-1, -3, 1, -1]},
        np.s_[2:0:-1, -1:2:-3, :, -2:0:-1],
    ),
    "single": (
        {
            "begin": [1, 0, -1, 0],
            "end": [2, 0, 0, 0],
            "end_mask": [False, True, False, True],
            "squeeze_mask": [True, False, True, False],
        },
        np.s_[1, :, -1, :],
    ),
    "empty": ({"begin": [0, 5, 0, 0], "end": [3, 5, 5, 37]}, np.s_[:, 5:5]),
}


@pytest.mark.parametrize("name", SLICES)
def test_slices(name):
    """By NumPy's rules, all axes at once."""
    arguments, key = SLICES[name]
    x = RNG.normal(size=SHAPE).astype(np.float16)
    program = _program(lambda x: mb.slice_by_index(x=x, **arguments), x=TensorType(fp16, SHAPE))
    assert _is_native(program)
    np.testing.assert_array_equal(_run(program, x=x), x[key])


def test_a_slice_follows_a_symbolic_size():
    """The last row, whatever the length: its place is evaluated natively."""
    program = _program(
        lambda x: mb.slice_by_index(x=x, begin=[-1, 0], end=[0, 4], end_mask=[True, False]),
        x=TensorType(fp32, (symbol("s", lower=1), 4)),
    )
    session = Session(program.main, CpuDevice())
    for length in (1, 9, 3):
        x = RNG.normal(size=(length, 4)).astype(np.float32)
        (got,) = session.run({"x": x}).values()
        np.testing.assert_array_equal(got, x[-1:])


def test_split_stack_tile_reverse_and_gather_move_data():
    """Each against NumPy."""
    x = RNG.normal(size=(4, 6)).astype(np.float32)
    kind = TensorType(fp32, x.shape)

    def stacked(x):
        first, second = mb.split(x=x, num_splits=2, axis=1)
        return mb.stack(values=[second, first], axis=1)

    np.testing.assert_array_equal(_run(_program(stacked, x=kind), x=x), np.stack([x[:, 3:], x[:, :3]], 1))
    tiled = _program(lambda x: mb.tile(x=x, reps=[2, 3]), x=kind)
    np.testing.assert_array_equal(_run(tiled, x=x), np.tile(x, (2, 3)))
    turned = _program(lambda x: mb.reverse(x=x, axes=[1]), x=kind)
    np.testing.assert_array_equal(_run(turned, x=x), x[:, ::-1])
    indices = np.array([[5, -1], [0, 2]], np.int32)
    gathered = _program(lambda x, i: mb.gather(x=x, indices=i, axis=1), x=kind, i=TensorType(int32, (2, 2)))
    np.testing.assert_array_equal(_run(gathered, x=x, i=indices), x[:, indices])
    for program in (_program(stacked, x=kind), tiled, turned, gathered):
        assert _is_native(program)


def test_an_index_out_of_range_is_an_error_or_is_held():
    """An error until iOS16, as on the reference device; held at the nearest element since iOS17. Never a wild read."""
    x, indices = np.arange(3, dtype=np.float32), np.array([1, 7], np.int32)
    kinds = {"x": TensorType(fp32, (3,)), "i": TensorType(int32, (2,))}
    with pytest.raises(ExecutionError, match="out of range"):
        _run(_program(lambda x, i: mb.gather(x=x, indices=i), iOS16, **kinds), x=x, i=indices)
    held = _run(_program(lambda x, i: mb.gather(x=x, indices=i), iOS18, **kinds), x=x, i=indices)
    np.testing.assert_array_equal(held, [1, 2])


def test_scattered_slices_replace_and_the_last_one_wins():
    """Negative indices count from the end; since iOS17 what is out of range is dropped, before it is an error."""
    data, updates = np.zeros((2, 5, 3), np.float32), RNG.normal(size=(2, 4, 3)).astype(np.float32)
    kinds = {"d": TensorType(fp32, data.shape), "i": TensorType(int32, (4,)), "u": TensorType(fp32, updates.shape)}

    def make(d, i, u):
        return mb.scatter(data=d, indices=i, updates=u, axis=1, mode="update")

    assert _is_native(_program(make, **kinds))
    indices = np.array([1, -1, 9, 1], np.int32)
    wanted = data.copy()
    wanted[:, 4], wanted[:, 1] = updates[:, 1], updates[:, 3]
    np.testing.assert_array_equal(_run(_program(make, **kinds), d=data, i=indices, u=updates), wanted)
    with pytest.raises(ExecutionError, match="out of range"):
        _run(_program(make, iOS16, **kinds), d=data, i=indices, u=updates)


REDUCTIONS = {
    "reduce_sum": np.sum,
    "reduce_mean": np.mean,
    "reduce_max": np.max,
    "reduce_min": np.min,
    "reduce_sum_square": lambda x, **how: np.sum(x * x, **how),
    "reduce_l1_norm": lambda x, **how: np.sum(np.abs(x), **how),
    "reduce_l2_norm": lambda x, **how: np.sqrt(np.sum(x * x, **how)),
}


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)])
def test_reductions_along_any_axes(name, axes):
    """Rows, columns, and axes that do not lie together; against float64 within the contract's bound for sums."""
    x = RNG.normal(size=(5, 300, 41)).astype(np.float32)
    program = _program(lambda x: mb.op(name, x=x, axes=axes, keep_dims=True), x=TensorType(fp32, x.shape))
    assert _is_native(program)
    wide = x.astype(np.float64)
    wanted = REDUCTIONS[name](wide, axis=axes, keepdims=True)
    count = np.prod([x.shape[axis] for axis in axes])
    size = np.sum(np.maximum(np.abs(wide), wide * wide), axis=axes, keepdims=True)
    share = {"reduce_mean": 1 / count, "reduce_l2_norm": 0.5 / np.abs(wanted).min()}.get(name, 1)
    bound = 4 * np.sqrt(count) * 2.0**-24 * size * share + np.spacing(np.abs(wanted).astype(np.float32))
    assert (np.abs(_run(program, x=x) - wanted) <= bound).all()


@pytest.mark.parametrize("name", ["reduce_max", "reduce_min", "reduce_sum"])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_nan_makes_a_reduction_nan(name, axis):
    x = RNG.normal(size=(33, 35)).astype(np.float32)
    x[17, 20] = np.nan
    program = _program(lambda x: mb.op(name, x=x, axes=[axis]), x=TensorType(fp32, x.shape))
    np.testing.assert_array_equal(np.isnan(_run(program, x=x)), np.isnan(x).any(axis=axis))


@pytest.mark.parametrize("width", [1, 5, 64, 1000, 5000])
def test_softmax_and_layer_norm_of_rows_of_any_width(width):
    """Against float64: softmax within a few units of each weight, layer norm within the bound times max|x|/σ."""
    x = (RNG.normal(size=(3, width)) * 3 + 10).astype(np.float32)
    kind, wide = TensorType(fp32, x.shape), x.astype(np.float64)
    weights = np.exp(wide - wide.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    got = _run(_program(lambda x: mb.softmax(x=x, axis=-1), x=kind), x=x)
    np.testing.assert_allclose(got, weights, rtol=2.0**-24 * (8 + 4 * np.sqrt(width)))
    middle = wide - wide.mean(1, keepdims=True)
    sigma = np.sqrt(np.mean(middle**2, axis=1, keepdims=True) + 1e-5)
    got = _run(_program(lambda x: mb.layer_norm(x=x, axes=[-1]), x=kind), x=x)
    bound = 4 * np.sqrt(width) * 2.0**-24 * np.abs(wide).max() / sigma + 1e-6
    assert (np.abs(got - middle / sigma) <= bound).all()


def test_integers_and_truth_values_never_pass_through_floats():
    """Sums beyond 2²⁴ and products beyond 2³² are exact modulo 2³²; comparisons and selection keep every bit."""
    x = np.array([2**24 + 1, -(2**31), 2**31 - 1, 7, -5], np.int32)
    y = np.array([1, -1, 1, 3, 2**30], np.int32)
    kinds = {"x": TensorType(int32, x.shape), "y": TensorType(int32, y.shape)}
    sums = _program(lambda x, y: mb.add(x=mb.mul(x=x, y=y), y=x), **kinds)
    assert _is_native(sums)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(_run(sums, x=x, y=y), x * y + x)
    chosen = _program(lambda x, y: mb.select(cond=mb.greater_equal(x=x, y=y), a=x, b=y), **kinds)
    assert _is_native(chosen)
    np.testing.assert_array_equal(_run(chosen, x=x, y=y), np.maximum(x, y))


def _cache(length: int = 6) -> Program:
    """Writes a row of a cache at ``position`` and gives the sum of the rows up to a growing size."""
    program = Program()
    kinds = {"cache": StateType(TensorType(fp16, (length, 4))), "x": TensorType(fp16, (1, 4)), "seen": SEEN}
    with mb.function(program, "main", kinds, iOS18) as (cache, x, seen):
        before = mb.read_state(input=cache)
        end = mb.slice_by_index(x=mb.shape(x=seen), begin=[0], end=[1], squeeze_mask=[True])
        begin = mb.concat(values=[mb.sub(x=end, y=1), 0], axis=0)
        limit = mb.concat(values=[end, 4], axis=0)
        after = mb.coreml_update_state(state=cache, value=mb.slice_update(x=before, update=x, begin=begin, end=limit))
        rows = mb.slice_by_index(x=after, begin=[0, 0], end=limit)
        mb.output(mb.reduce_sum(x=rows, axes=[0]))
    return program


SEEN = TensorType(fp32, (symbol("length", lower=1, upper=6),))


def test_a_cache_in_a_state_grows_natively():
    """Reading, updating and reading again is one segment; each step sees what the steps before it wrote."""
    program = _cache()
    session = Session(program.main, CpuDevice())
    state, other = session.make_state(), session.make_state()
    rows = RNG.normal(size=(6, 4)).astype(np.float16)
    for step in range(6):
        inputs = {"x": rows[step : step + 1], "seen": np.zeros(step + 1, np.float32)}
        (got,) = session.run(inputs, state).values()
        np.testing.assert_allclose(got, rows[: step + 1].astype(np.float64).sum(0), rtol=2e-3, atol=2e-3)
        np.testing.assert_array_equal(state.read("cache")[: step + 1], rows[: step + 1])
    assert not other.read("cache").any()
    kinds = [type(step) for step in CpuDevice().prepare(program.main).plan.steps]
    assert kinds == [NativeStep]


def test_a_failed_prediction_leaves_the_state():
    """The cache is written before the gather fails."""
    program = Program()
    kinds = {"cache": StateType(TensorType(fp16, (2,))), "x": TensorType(fp16, (2,)), "i": TensorType(int32, (1,))}
    with mb.function(program, "main", kinds, iOS18) as (cache, x, i):
        written = mb.coreml_update_state(state=cache, value=x)
        mb.output(mb.gather(x=written, indices=i, validate_indices=True))
    session = Session(program.main, CpuDevice())
    state = session.make_state()
    x = np.array([1, 2], np.float16)
    with pytest.raises(ExecutionError, match="out of range"):
        session.run({"x": x, "i": np.array([2], np.int32)}, state)
    assert not state.read("cache").any()
    session.run({"x": x, "i": np.array([1], np.int32)}, state)
    x[:] = 0  # the caller's own array again
    np.testing.assert_array_equal(state.read("cache"), [1, 2])


@pytest.mark.parametrize("to", ["fp32", "int32"])
def test_a_cast_reads_the_float16_value_that_was_declared(to):
    """σ(9) is 0.99988, whose nearest float16 is 1: no cast may see what float32 still knew."""
    program = _program(lambda x: mb.cast(x=mb.sigmoid(x=x), dtype=to), x=TensorType(fp16, (1,)))
    np.testing.assert_array_equal(_run(program, x=np.array([9.0], np.float16)), [1])


def test_a_cast_to_bool_reads_it_too():
    """e⁻²⁰ is 2e-9, which float16 rounds to 0."""
    program = _program(lambda x: mb.cast(x=mb.exp(x=x), dtype="bool"), x=TensorType(fp16, (1,)))
    np.testing.assert_array_equal(_run(program, x=np.array([-20.0], np.float16)), [False])
