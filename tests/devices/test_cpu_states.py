"""States on the CPU device: slices replaced where they are, wherever nobody can tell, and undone when a run fails."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from gristmill.devices.cpu import CpuDevice
from gristmill.devices.cpu.plan import NativeStep
from gristmill.devices.reference import ReferenceDevice
from gristmill.errors import ExecutionError
from gristmill.ir.builder import mb
from gristmill.ir.dims import symbol
from gristmill.ir.opset import iOS18
from gristmill.ir.program import Program
from gristmill.ir.types import StateType, TensorType, fp16, fp32, int32
from gristmill.runtime.session import Session

RNG = np.random.default_rng(0)
CACHE = StateType(TensorType(fp16, (6, 4)))
INPUTS = {"x": TensorType(fp16, (1, 4)), "i": TensorType(int32, (1,))}


def program(make, **kinds) -> Program:
    made = Program()
    with mb.function(made, "main", kinds or {"a": CACHE, "b": CACHE, **INPUTS}, iOS18) as values:
        results = make(*values)
        mb.output(*(results if isinstance(results, tuple) else (results,)))
    return made


def read(state):
    return mb.read_state(input=state)


def put(whole, row, place: int):
    """The whole with one row replaced."""
    return mb.slice_update(x=whole, update=row, begin=[place, 0], end=[place + 1, 4])


def scattered(whole, row, i):
    return mb.scatter(data=whole, indices=i, updates=row, axis=0, mode="update", validate_indices=True)


def write(state, value):
    return mb.coreml_update_state(state=state, value=value)


def total(value):
    return mb.reduce_sum(x=value, axes=[0])


def several_states(a, b, x, i):
    first, second = write(a, put(read(a), x, 2)), write(b, scattered(read(b), x, i))
    return total(first), total(second)


def read_before_and_after(a, b, x, i):
    before = total(read(a))
    return before, total(write(a, put(read(a), x, 1)))


def updated_twice(a, b, x, i):
    write(a, put(read(a), x, 1))
    return total(write(a, scattered(read(a), mb.add(x=x, y=x), i)))


def two_slices_of_one_update(a, b, x, i):
    return total(write(a, put(scattered(read(a), x, i), mb.add(x=x, y=x), 4)))


def reads_first_and_writes_last(a, b, x, i):
    """As converters put it, with an op between that ends a segment."""
    old = read(a)
    sums = mb.cumsum(x=x, axis=1)
    new = put(old, sums, 3)
    result = mb.cumsum(x=total(new), axis=0)
    write(a, new)
    return result


def used_by_an_op_without_a_kernel(a, b, x, i):
    """The last use in the program's order is the write, which runs before."""
    new = put(read(a), x, 3)
    result = mb.cumsum(x=new, axis=0)
    write(a, new)
    return result


def old_contents_seen_later(a, b, x, i):
    old = read(a)
    new = write(a, put(old, x, 1))
    return mb.sub(x=total(new), y=total(old))


def old_contents_given_out(a, b, x, i):
    old = read(a)
    write(a, put(old, x, 1))
    return old


def read_again_before_it_is_written(a, b, x, i):
    new = put(read(a), x, 1)
    result = total(read(a))
    write(a, new)
    return result


def not_written_back(a, b, x, i):
    return total(put(read(a), x, 1))


def written_to_another_state(a, b, x, i):
    return total(write(b, put(read(a), x, 1)))


def written_to_both(a, b, x, i):
    new = put(read(a), x, 1)
    write(a, new)
    write(b, new)
    return total(new)


def old_contents_kept_by_another_state(a, b, x, i):
    old = read(a)
    write(b, old)
    return total(write(a, put(old, x, 1)))


def states_exchanged(a, b, x, i):
    first, second = read(a), read(b)
    write(a, put(second, x, 1))
    write(b, put(first, x, 2))
    return total(first)


def replaced_as_a_whole_afterwards(a, b, x, i):
    new = write(a, put(read(a), x, 1))
    return total(write(a, mb.mul(x=new, y=np.float16(0.5))))


def new_contents_given_out(a, b, x, i):
    return write(a, put(read(a), x, 1))


def its_own_row(a, b, x, i):
    old = read(a)
    row = mb.slice_by_index(x=old, begin=[5, 0], end=[6, 4])
    return total(write(a, put(old, row, 1)))


# How many calls write in place; the others need the old contents as well, or are no update of that state.
CASES = {
    several_states: 2,
    read_before_and_after: 1,
    updated_twice: 2,
    two_slices_of_one_update: 2,
    reads_first_and_writes_last: 1,
    used_by_an_op_without_a_kernel: 1,
    old_contents_seen_later: 0,
    old_contents_given_out: 0,
    read_again_before_it_is_written: 0,
    not_written_back: 0,
    written_to_another_state: 0,
    written_to_both: 0,
    old_contents_kept_by_another_state: 0,
    states_exchanged: 0,
    replaced_as_a_whole_afterwards: 1,
    new_contents_given_out: 1,
    its_own_row: 0,
}


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_updates_in_place_change_no_result(make):
    """Three predictions beside the reference device: results, and the states after each. Nothing is rounded apart."""
    made = program(make)
    sessions = [Session(made.main, device) for device in (CpuDevice(), ReferenceDevice())]
    states = [session.make_state() for session in sessions]
    for name in states[0].names:
        start = RNG.integers(-8, 8, (6, 4)).astype(np.float16)
        for state in states:
            state.write(name, start)
    for place in (5, 0, 1):
        inputs = {"x": RNG.integers(-8, 8, (1, 4)).astype(np.float16), "i": np.int32([place])}
        (ours, wanted) = (session.run(inputs, state) for session, state in zip(sessions, states, strict=True))
        held = {name: value.copy() for name, value in ours.items()}
        for name in wanted:
            np.testing.assert_array_equal(ours[name], wanted[name])
        for name in states[0].names:
            np.testing.assert_array_equal(states[0].read(name), states[1].read(name))
        sessions[0].run(inputs, states[0])  # what was given out is nobody else's
        sessions[1].run(inputs, states[1])
        for name in wanted:
            np.testing.assert_array_equal(ours[name], held[name])
    profile = sessions[0].profile(inputs, states[0])
    assert sum(call.variant == "in place" for call in profile) == CASES[make]


def test_an_update_touches_its_slice_only():
    """The array of a large cache stays, and the call moves four rows: old and new, each read and written."""
    cache = StateType(TensorType(fp16, (1000, 4)))
    made = program(lambda a, x: total(write(a, put(read(a), x, 7))), a=cache, x=INPUTS["x"])
    session = Session(made.main, CpuDevice())
    state = session.make_state()
    x = {"x": np.ones((1, 4), np.float16)}
    with state.transaction() as cells:
        before = cells["a"].read()
    (update, _) = session.profile(x, state)
    with state.transaction() as cells:
        assert cells["a"].read() is before
    assert update.bytes == 4 * 8


def failing(after):
    """Two updates of one state, a scatter that meets one index twice among them, and then what ``after`` does."""

    def make(a, b, x, i, j):
        twice = mb.scatter(
            data=read(a), indices=mb.concat(values=[i, i], axis=0), updates=mb.concat(values=[x, x], axis=0), axis=0,
            mode="update", validate_indices=True,
        )  # fmt: skip
        write(a, twice)
        new = write(a, put(read(a), mb.add(x=x, y=x), 3))
        write(b, scattered(read(b), x, i))
        return after(new, j)

    return program(make, a=CACHE, b=CACHE, **INPUTS, j=TensorType(int32, (1,)))


def gathered(value, j):
    return mb.gather(x=value, indices=j, axis=0, validate_indices=True)


def gathered_in_a_later_segment(value, j):
    return gathered(mb.reduce_prod(x=value, axes=[1], keep_dims=True), j)


# Row 3 is what the second update replaces as well.
@pytest.mark.parametrize("row", [2, 3])
@pytest.mark.parametrize("after", [gathered, gathered_in_a_later_segment])
def test_a_failure_after_updates_takes_them_back(after, row):
    """In the same segment, and in one that runs after it; then the same prediction succeeds."""
    made = failing(after)
    session, wanted = Session(made.main, CpuDevice()), Session(made.main, ReferenceDevice())
    steps = [type(step) for step in CpuDevice().prepare(made.main).plan.steps]
    assert (len(steps) == 1) == (after is gathered)
    state, other = session.make_state(), wanted.make_state()
    contents = {name: RNG.integers(-8, 8, (6, 4)).astype(np.float16) for name in state.names}
    for name, value in contents.items():
        state.write(name, value)
        other.write(name, value)
    inputs = {"x": RNG.integers(-8, 8, (1, 4)).astype(np.float16), "i": np.int32([row]), "j": np.int32([77])}
    with pytest.raises(ExecutionError):
        session.run(inputs, state)
    for name, value in contents.items():
        np.testing.assert_array_equal(state.read(name), value)
    inputs["j"] = np.int32([4])
    for ours, theirs in zip(session.run(inputs, state).values(), wanted.run(inputs, other).values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for name in contents:
        np.testing.assert_array_equal(state.read(name), other.read(name))


def test_an_index_out_of_range_writes_nothing():
    """The update itself fails, at its second index."""
    made = program(lambda a, x, i: total(write(a, scattered(read(a), x, i))), a=CACHE,
                   x=TensorType(fp16, (2, 4)), i=TensorType(int32, (2,)))  # fmt: skip
    session = Session(made.main, CpuDevice())
    state = session.make_state()
    with pytest.raises(ExecutionError, match="out of range"):
        session.run({"x": np.ones((2, 4), np.float16), "i": np.int32([1, 6])}, state)
    assert not state.read("a").any()


def test_contents_that_others_hold_are_not_written_to():
    """The reference device leaves in a state the very array that it gave out; the next update copies it first."""
    made = program(new_contents_given_out)
    session, reference = Session(made.main, CpuDevice()), Session(made.main, ReferenceDevice())
    state = reference.make_state()
    inputs = {"x": np.ones((1, 4), np.float16), "i": np.int32([0])}
    (given,) = reference.run(inputs, state).values()
    held = given.copy()
    session.run({**inputs, "x": np.full((1, 4), 5, np.float16)}, state)
    np.testing.assert_array_equal(given, held)
    assert (state.read("a")[1] == 5).all()


def test_two_threads_with_states_of_their_own():
    """One model; each thread counts in its own rows."""
    made = program(updated_twice)
    session, wanted = Session(made.main, CpuDevice()), Session(made.main, ReferenceDevice())
    failures: list[AssertionError] = []

    def count(seed: int) -> None:
        rng = np.random.default_rng(seed)
        state, other = session.make_state(), wanted.make_state()
        for _ in range(50):
            inputs = {"x": rng.integers(-8, 8, (1, 4)).astype(np.float16), "i": rng.integers(0, 6, 1).astype(np.int32)}
            session.run(inputs, state)
            wanted.run(inputs, other)
            try:
                np.testing.assert_array_equal(state.read("a"), other.read("a"))
            except AssertionError as error:
                failures.append(error)

    threads = [threading.Thread(target=count, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


HEADS, CAPACITY, WIDTH = 3, 700, 24


def attending(queries: int) -> Program:
    """Attention over rows of a cache, ``first`` and on, as many as the mask has columns."""

    def make(keys, values, query, mask):
        length = mb.slice_by_index(x=mb.shape(x=mask), begin=[3], end=[4], squeeze_mask=[True])
        end = mb.concat(values=[1, HEADS, mb.add(x=length, y=2), WIDTH], axis=0)
        k, v = (mb.slice_by_index(x=read(cache), begin=[0, 0, 2, 0], end=end) for cache in (keys, values))
        return mb.scaled_dot_product_attention(query=query, key=k, value=v, attn_mask=mask)

    cache = StateType(TensorType(fp16, (1, HEADS, CAPACITY, WIDTH)))
    return program(
        make,
        keys=cache,
        values=cache,
        query=TensorType(fp16, (1, HEADS, queries, WIDTH)),
        mask=TensorType(fp16, (1, 1, 1, symbol("length", lower=1, upper=CAPACITY - 2))),
    )


# One query reads rows where they stand, fifty have them packed; 256 keys are a block.
@pytest.mark.parametrize("queries", [1, 50])
def test_attention_reads_a_part_of_a_cache_where_it_stands(queries):
    """Against float64; one call, with lengths that grow and shrink. Results are rounded to float16."""
    made = attending(queries)
    (step,) = CpuDevice().prepare(made.main).plan.steps
    assert isinstance(step, NativeStep)
    assert [kernel for kernel, _ in step.emitter.calls] == ["attention"]
    session = Session(made.main, CpuDevice())
    state = session.make_state()
    contents = [RNG.normal(size=(1, HEADS, CAPACITY, WIDTH)).astype(np.float16) for _ in range(2)]
    for name, value in zip(("keys", "values"), contents, strict=True):
        state.write(name, value)
    for length in (1, 5, 6, 256, 257, 698, 40):
        query = RNG.normal(size=(1, HEADS, queries, WIDTH)).astype(np.float16)
        mask = RNG.normal(size=(1, 1, 1, length)).astype(np.float16)
        (got,) = session.run({"query": query, "mask": mask}, state).values()
        keys, values = (value[:, :, 2 : 2 + length].astype(np.float64) for value in contents)
        scores = query.astype(np.float64) @ keys.swapaxes(2, 3) / np.sqrt(WIDTH) + mask
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        wanted = weights / weights.sum(-1, keepdims=True) @ values
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-3)


def test_sizes_that_shapes_decide_end_no_segment():
    """A range, a shape and arithmetic on it are known before the program runs; also where they are its results."""

    def make(x):
        length = mb.slice_by_index(x=mb.shape(x=x), begin=[0], end=[1], squeeze_mask=[True])
        last = mb.range_1d(start=mb.sub(x=length, y=2), end=length, step=1)
        return mb.gather(x=x, indices=last, axis=0), last, mb.shape(x=x)

    made = program(make, x=TensorType(fp32, (symbol("n", lower=2), 3)))
    (step,) = CpuDevice().prepare(made.main).plan.steps
    assert isinstance(step, NativeStep)
    session = Session(made.main, CpuDevice())
    for n in (2, 9, 4):
        x = RNG.normal(size=(n, 3)).astype(np.float32)
        rows, last, shape = session.run({"x": x}).values()
        np.testing.assert_array_equal(rows, x[-2:])
        np.testing.assert_array_equal(last, [n - 2, n - 1])
        np.testing.assert_array_equal(shape, x.shape)
        assert last.dtype == shape.dtype == np.int32


def test_a_size_that_only_data_decides_is_found_although_nobody_reads_the_elements():
    """How long the slice is says how often to repeat; its elements are of no use, yet it has to run."""

    def make(x, begin):
        part = mb.slice_by_index(x=x, begin=begin, end=[0], end_mask=[True])
        count = mb.concat(values=[np.array([2], np.int32), mb.shape(x=part)], axis=0)
        return mb.tile(x=np.full((1, 1), 3, np.float32), reps=count)

    made = program(make, x=TensorType(fp32, (7,)), begin=TensorType(int32, (1,)))
    session = Session(made.main, CpuDevice())
    for begin in (0, 5):
        (repeated,) = session.run({"x": np.zeros(7, np.float32), "begin": np.array([begin], np.int32)}).values()
        np.testing.assert_array_equal(repeated, np.full((2, 7 - begin), 3, np.float32))


def test_sizes_that_grow_and_shrink_share_one_arena():
    """Results between two calls lie in room that is planned for more than is needed now: no step sees another's.

    The room is bounded by the largest size: half as much again, beside padding.
    """

    def make(x):
        y = mb.softmax(x=x, axis=1)
        z = mb.reduce_sum(x=mb.matmul(x=y, y=y, transpose_y=True), axes=[1])
        return mb.sub(x=mb.reduce_max(x=y, axes=[1]), y=z)

    made = program(make, x=TensorType(fp32, (symbol("n", lower=1), 5)))
    session = Session(made.main, CpuDevice())
    for n in (*range(1, 40), 400, *range(40, 1, -7)):
        x = RNG.normal(size=(n, 5)).astype(np.float32)
        (got,) = session.run({"x": x}).values()
        y = np.exp(x.astype(np.float64))
        y /= y.sum(1, keepdims=True)
        # Sums of up to 400 products in float32.
        np.testing.assert_allclose(got, y.max(1) - (y @ y.T).sum(1), rtol=1e-5, atol=1e-4)


def test_room_for_growing_sizes_is_bounded_and_seldom_moves():
    """Over 1,000 lengths working memory grows a few times only, and at most to one and a half times what is needed."""
    made = program(
        lambda x: mb.reduce_sum(x=mb.softmax(x=mb.transpose(x=x, perm=[1, 0]), axis=1), axes=[0]),
        x=TensorType(fp32, (symbol("n", lower=1), 8)),
    )
    (step,) = CpuDevice().prepare(made.main).plan.steps
    executable = step.emitter.executable
    rooms = []
    for n in range(1, 1001):
        executable.run([n], [np.zeros((n, 8), np.float32), np.empty(n, np.float32)])
        rooms.append(executable.configured()[2])
    assert len(set(rooms)) < 20  # log₁.₅ 1000 is 17
    (needed,) = (s.plan.steps[0].emitter.executable for s in [CpuDevice().prepare(made.main)])
    needed.run([1000], [np.zeros((1000, 8), np.float32), np.empty(1000, np.float32)])
    assert rooms[-1] <= 1.6 * needed.configured()[2]
    executable.run([1000], [np.zeros((1000, 8), np.float32), np.empty(1000, np.float32)])
    assert executable.configured()[0] == 1000  # the same sizes again cost nothing


def test_slices_that_are_dense_are_no_copies():
    """Taking query, key and value from one projection only names parts of it."""

    def make(x):
        turned = mb.transpose(x=mb.reshape(x=x, shape=[1, 1, 3, 2, 8]), perm=[2, 0, 3, 1, 4])
        parts = [
            mb.slice_by_index(
                x=turned, begin=[k, 0, 0, 0, 0], end=[k + 1, 1, 2, 1, 8], squeeze_mask=[True] + [False] * 4
            )
            for k in range(3)
        ]
        return mb.add(x=mb.mul(x=parts[2], y=parts[0]), y=parts[1])

    made = program(make, x=TensorType(fp32, (1, 1, 48)))
    (step,) = CpuDevice().prepare(made.main).plan.steps
    assert [kernel for kernel, _ in step.emitter.calls] == ["elementwise"]
    x = RNG.integers(-8, 8, (1, 1, 48)).astype(np.float32)
    (got,) = Session(made.main, CpuDevice()).run({"x": x}).values()
    q, k, v = x.reshape(3, 1, 2, 1, 8)
    np.testing.assert_array_equal(got, v * q + k)
