"""States: kept from prediction to prediction, read and written as NumPy, and made by conversion."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gristmill as ct
from gristmill.errors import ExecutionError, InputError, InputTypeError, StateError, UnsupportedError
from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import StateType, TensorType, fp16, fp32, int32
from gristmill.package import Package
from tests.models.small import model


def counters() -> ct.models.MLModel:
    """Adds ``x`` to state ``total`` and one to state ``count``, then returns element ``i`` of the total."""

    def build(x, i, total, count):
        mb.coreml_update_state(state=count, value=mb.add(x=mb.read_state(input=count), y=np.float32(1)))
        added = mb.coreml_update_state(state=total, value=mb.add(x=mb.read_state(input=total), y=x))
        return mb.gather(x=added, indices=i, axis=0, validate_indices=True, name="y")

    inputs = {"x": TensorType(fp32, (2,)), "i": TensorType(int32, (1,))}
    states = {"total": StateType(TensorType(fp32, (2,))), "count": StateType(TensorType(fp32, (1,)))}
    return model({**inputs, **states}, build)


def given(a: float, b: float, index: int = 0) -> dict[str, np.ndarray]:
    return {"x": np.float32([a, b]), "i": np.int32([index])}


def test_states_are_kept_independently():
    """Two states of one model, and two sequences of predictions that know nothing of each other."""
    one = counters()
    first, second = one.make_state(), one.make_state()
    assert first.names == ("total", "count")
    one.predict(given(1, 2), first)
    assert one.predict(given(3, 4, index=1), first)["y"] == 6
    assert one.predict(given(5, 6), second)["y"] == 5
    np.testing.assert_array_equal(first.read_state("total"), np.float32([4, 6]))
    assert (first.read_state("count"), second.read_state("count")) == (2, 1)


def test_list_shares_one_state():
    """Each row sees what the row before left."""
    one = counters()
    results = one.predict([given(1, 0), given(2, 0), given(3, 0)], one.make_state())
    assert [float(r["y"][0]) for r in results] == [1, 3, 6]


def test_contents_are_copies():
    """Neither what was read nor what was written stays connected."""
    state = counters().make_state()
    mine = np.float32([7, 8])
    state.write_state("total", mine)
    mine[:] = 0
    state.read_state("total")[:] = 0
    np.testing.assert_array_equal(state.read_state("total"), np.float32([7, 8]))


def test_written_contents_are_used():
    one = counters()
    state = one.make_state()
    state.write_state("total", np.float32([10, 20]))
    assert one.predict(given(1, 2, index=1), state)["y"] == 22


def test_wrong_contents():
    """The shape, the kind of number and the name must be the state's."""
    state = counters().make_state()
    with pytest.raises(InputError, match=r"total.*shape"):
        state.write_state("total", np.zeros(3, np.float32))
    with pytest.raises(InputTypeError, match=r"total.*type"):
        state.write_state("total", np.zeros(2, np.complex64))
    with pytest.raises(InputError, match="total, count"):
        state.read_state("other")


def test_failed_prediction_changes_nothing():
    """Both states were written before the op that fails."""
    one = counters()
    state = one.make_state()
    one.predict(given(1, 2), state)
    with pytest.raises(ExecutionError):
        one.predict(given(1, 2, index=5), state)
    np.testing.assert_array_equal(state.read_state("total"), np.float32([1, 2]))
    assert state.read_state("count") == 1
    assert one.predict(given(1, 2), state)["y"] == 2  # and it is usable


def test_state_in_use():
    """While one prediction holds a state, another one, a read and a write are errors."""
    one = counters()
    state = one.make_state()
    with state._state.transaction():
        with pytest.raises(StateError, match="in use"):
            one.predict(given(1, 2), state)
        with pytest.raises(StateError, match="in use"):
            state.read_state("total")
        with pytest.raises(StateError, match="in use"):
            state.write_state("total", np.zeros(2, np.float32))
    one.predict(given(1, 2), state)


def test_state_of_another_model_or_none():
    other = model(
        {"x": TensorType(fp32, (2,)), "memory": StateType(TensorType(fp32, (2,)))},
        lambda x, memory: mb.add(x=mb.read_state(input=memory), y=x, name="y"),
    )
    for wrong in (other.make_state(), None):
        with pytest.raises(StateError, match=r"total: .*, count: "):
            counters().predict(given(1, 2), wrong)


def test_same_names_do_not_make_it_the_same_state():
    """A state of other sizes is refused, though it has the right names."""

    def memory(size: int) -> ct.models.MLModel:
        inputs = {"x": TensorType(fp32, (1,)), "memory": StateType(TensorType(fp32, (size,)))}
        return model(inputs, lambda x, memory: mb.add(x=mb.read_state(input=memory), y=x, name="y"))

    with pytest.raises(StateError, match=r"\[2\](.|\n)*\[3\]"):
        memory(2).predict({"x": np.zeros(1, np.float32)}, memory(3).make_state())


def test_functions_of_one_model_hand_their_state_on():
    """One function fills the state, the other reads it: they declare the same states."""
    program = Program()
    inputs = {"x": TensorType(fp32, (2,)), "memory": StateType(TensorType(fp32, (2,)))}
    with mb.function(program, "fill", inputs, Opset.iOS18) as (x, memory):
        mb.output(mb.identity(x=mb.coreml_update_state(state=memory, value=x), name="y"))
    with mb.function(program, "add", inputs, Opset.iOS18) as (x, memory):
        mb.output(mb.add(x=x, y=mb.read_state(input=memory), name="y"))
    package = Package.from_program(program)
    fill, add = (ct.models.MLModel(package, function_name=name) for name in ("fill", "add"))
    state = fill.make_state()
    fill.predict({"x": np.float32([1, 2])}, state)
    assert add.predict({"x": np.float32([10, 20])}, state)["y"].tolist() == [11, 22]


# --- conversion ------------------------------------------------------------------------------------------------------


class Mean(torch.nn.Module):
    """The mean of all rows seen so far."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(3))
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x):
        self.total += x
        self.count += 1
        return self.total / self.count


def state(name: str | None, *shape: int, dtype: type = np.float16) -> ct.StateType:
    return ct.StateType(wrapped_type=ct.TensorType(shape=shape, dtype=dtype), name=name)


def converted(**options) -> ct.models.MLModel:
    exported = torch.export.export(Mean().eval(), (torch.zeros(3),))
    return ct.convert(exported, **{"minimum_deployment_target": ct.target.iOS18, **options})


@pytest.mark.parametrize("precision", [ct.precision.FLOAT16, ct.precision.FLOAT32])
@pytest.mark.parametrize("states", [None, [state("total", 3), state("count", 1)]], ids=["found", "described"])
def test_converted_model_keeps_its_buffers(precision, states):
    """Means of (1, 2, 3), then with (3, 4, 5), whose numbers float16 holds exactly."""
    one = converted(compute_precision=precision, states=states)
    memory = one.make_state()
    assert [v.tolist() for v in one.predict({"x": np.float32([1, 2, 3])}, memory).values()] == [[1, 2, 3]]
    assert [v.tolist() for v in one.predict({"x": np.float32([3, 4, 5])}, memory).values()] == [[2, 3, 4]]
    assert memory.read_state("total").tolist() == [4, 6, 8]
    half = states is not None or precision is ct.precision.FLOAT16
    assert memory.read_state("total").dtype == (np.float16 if half else np.float32)


def test_declared_types_win_over_the_precision():
    """One state described as float32 stays so; the other follows the precision."""
    one = converted(states=[state("total", 3, dtype=np.float32)])
    types = {v.name: v.type.wrapped.dtype for v in one.program.main.states}
    assert types == {"total": fp32, "count": fp16}


def test_float16_state_of_a_float32_model_is_cast_where_it_is_used():
    """2048 + 1 is a float32 number but no float16 one: the sum is exact, what the state keeps of it is rounded."""

    class Add(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("total", torch.zeros(1))

        def forward(self, x):
            self.total += x
            return self.total * 1

    one = ct.convert(
        torch.export.export(Add(), (torch.zeros(1),)),
        states=[state("total", 1)],
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS18,
    )
    memory = one.make_state()
    (result,) = one.predict({"x": np.float32([2049])}, memory).values()
    assert (result, memory.read_state("total")) == (2049, 2048)


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ([state("sum", 3)], "total, count"),
        ([state(None, 3)], "total, count"),
        ([state("total", 4)], r"state 'total' has another shape(.|\n)*actual: \[4\]"),
        ([state("total", 3), state("total", 3)], "one name"),
        ([state("total", 3, dtype=np.int32)], "total(.|\n)*floating type"),
        ([ct.TensorType(name="total", shape=(3,))], "StateType"),
    ],
    ids=["unknown", "unnamed", "shape", "twice", "integer", "no state"],
)
def test_wrong_descriptions(states, message):
    with pytest.raises(InputError, match=message):
        converted(states=states)


def test_description_of_a_model_without_states():
    exported = torch.export.export(torch.nn.ReLU(), (torch.zeros(3),))
    with pytest.raises(InputError, match="it has none"):
        ct.convert(exported, states=[state("total", 3)], minimum_deployment_target=ct.target.iOS18)


def test_states_came_with_ios18():
    with pytest.raises(UnsupportedError, match="iOS18"):
        converted(minimum_deployment_target=ct.target.iOS17)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # PyTorch's own
def test_names_are_the_buffers_paths():
    """A buffer of a part of the model, whether the model is a module or a traced one."""

    class Outer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Mean()

        def forward(self, x):
            return self.inner(x) * 2

    states = [state("inner.total", 3), state("inner.count", 1)]
    for source in (Outer().eval(), torch.jit.trace(Outer().eval(), (torch.ones(3),))):
        for buffer in source.buffers():  # tracing has run the model
            buffer.zero_()
        one = ct.convert(
            source,
            inputs=[ct.TensorType(name="x", shape=(3,))],
            states=states,
            minimum_deployment_target=ct.target.iOS18,
        )
        memory = one.make_state()
        assert sorted(memory.names) == ["inner_count", "inner_total"]
        one.predict({"x": np.float32([1, 2, 3])}, memory)
        assert memory.read_state("inner_total").tolist() == [1, 2, 3]


@pytest.mark.interop
@pytest.mark.filterwarnings("ignore")  # coremltools warns of what a Mac would have
@pytest.mark.parametrize("precision", [ct.precision.FLOAT16, ct.precision.FLOAT32])
def test_coremltools_reads_it(precision, tmp_path):
    """The program that coremltools' own loader rebuilds updates both states."""
    coremltools = pytest.importorskip("coremltools", reason="coremltools, the oracle, is not installed")
    from coremltools.converters.mil.frontend.milproto.load import load

    converted(states=[state("total", 3), state("count", 1)], compute_precision=precision).save(
        tmp_path / "mean.mlpackage"
    )
    theirs = coremltools.models.MLModel(str(tmp_path / "mean.mlpackage"), skip_model_load=True)
    program = load(theirs.get_spec(), theirs.get_spec().specificationVersion, theirs.weights_dir)
    kinds = [op.op_type for op in program.functions["main"].operations]
    assert kinds.count("coreml_update_state") == 2


def test_saved_states_are_read_again(tmp_path):
    """Both the description and the program keep them."""
    converted().save(tmp_path / "mean.mlpackage")
    again = ct.models.MLModel(tmp_path / "mean.mlpackage")
    memory = again.make_state()
    again.predict({"x": np.float32([1, 2, 3])}, memory)
    assert memory.read_state("total").tolist() == [1, 2, 3]
    assert [s.name for s in again.get_spec().description.state] == ["total", "count"]
