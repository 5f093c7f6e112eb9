"""Programs written with the builder, as code for coremltools writes them, and converted."""

import numpy as np
import pytest

import gristmill as ct
from gristmill.converters.mil import Builder as mb
from gristmill.converters.mil import get_new_symbol
from gristmill.converters.mil.mil import Program, types
from gristmill.errors import InputError, InputTypeError, IRError

FP32 = {"compute_precision": ct.precision.FLOAT32, "minimum_deployment_target": ct.target.iOS18}


def test_a_program_converts_and_runs():
    """Types, symbolic sizes, and the name of an output."""

    @mb.program(
        input_specs=[mb.TensorSpec((get_new_symbol(), 2)), mb.TensorSpec((2,), dtype=types.int32)],
        opset_version=ct.target.iOS18,
    )
    def prog(x, n):
        return mb.add(x=x, y=mb.cast(x=n, dtype="fp32"), name="sum")

    model = ct.convert(prog, inputs=None, **FP32)
    for rows in (1, 3):
        x = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
        np.testing.assert_array_equal(model.predict({"x": x, "n": np.array([1, 2])})["sum"], x + np.float32([1, 2]))


def test_an_input_may_have_the_type_that_numpy_has():
    for given, wanted in ((np.float16, types.fp16), (np.int32, types.int32), (types.int32, types.int32)):
        assert mb.TensorSpec((2,), dtype=given) == mb.TensorSpec((2,), dtype=wanted)
        assert mb.StateTensorSpec((2,), dtype=given) == mb.StateTensorSpec((2,), dtype=wanted)
    with pytest.raises(IRError, match="no such element type"):
        mb.TensorSpec((2,), dtype=np.complex64)


def test_control_flow_is_written_with_functions():
    """A branch, and a loop that doubles three times."""

    @mb.program(input_specs=[mb.TensorSpec((1, 2))], opset_version=ct.target.iOS18)
    def prog(x):
        total = mb.reduce_sum(x=x, axes=[0, 1], keep_dims=False)
        y = mb.cond(pred=mb.greater(x=total, y=0.0), _true_fn=lambda: mb.relu(x=x), _false_fn=lambda: mb.square(x=x))
        _, result = mb.while_loop(
            _cond=lambda i, _: mb.less(x=i, y=3),
            _body=lambda i, s: (mb.add(x=i, y=1), mb.mul(x=s, y=2.0)),
            loop_vars=(mb.const(val=np.int32(0)), y),
        )
        return result

    model = ct.convert(prog, **FP32)
    for x, wanted in (([[2, -1]], [[16, 0]]), ([[-3, 1]], [[72, 8]])):
        (got,) = model.predict({"x": np.array(x, np.float32)}).values()
        np.testing.assert_array_equal(got, wanted)


def test_a_state():
    """A counter that outlives a prediction."""

    @mb.program(input_specs=[mb.TensorSpec((1,)), mb.StateTensorSpec((1,))], opset_version=ct.target.iOS18)
    def prog(x, total):
        return mb.identity(x=mb.coreml_update_state(state=total, value=mb.add(x=mb.read_state(input=total), y=x)))

    model = ct.convert(prog, **FP32)
    state = model.make_state()
    results = [float(next(iter(model.predict({"x": np.array([2.0])}, state).values()))[0]) for _ in range(3)]
    assert results == [2, 4, 6]


def test_functions_are_collected_in_a_program():
    """Each is made apart and added."""

    @mb.function(input_specs=[mb.TensorSpec((2,))], opset_version=ct.target.iOS18)
    def double(x):
        return mb.mul(x=x, y=2.0)

    program = Program()
    program.add_function(double)
    assert list(program.functions) == ["double"]


def test_the_programs_own_is_left_alone():
    """Converting works on a copy, so one program serves several conversions."""

    @mb.program(input_specs=[mb.TensorSpec((4,))], opset_version=ct.target.iOS16)
    def prog(x):
        return mb.exp(x=x)

    before = str(prog.main.inputs), len(prog.main.body)
    for precision in (ct.precision.FLOAT16, ct.precision.FLOAT32):
        ct.convert(prog, compute_precision=precision, minimum_deployment_target=ct.target.iOS16)
    assert (str(prog.main.inputs), len(prog.main.body)) == before


def test_mistakes_are_named():
    """A missing specification, a result that is no value, and a target older than the program."""
    with pytest.raises(InputError, match="one parameter for each input"):
        mb.program(input_specs=[])(lambda x: x)
    with pytest.raises(InputTypeError, match="returns values"):
        mb.program(input_specs=[mb.TensorSpec((1,))])(lambda x: 3)

    @mb.program(input_specs=[mb.TensorSpec((4,))], opset_version=ct.target.iOS18)
    def prog(x):
        return mb.exp(x=x)

    with pytest.raises(InputError, match="newer system"):
        ct.convert(prog, minimum_deployment_target=ct.target.iOS16)


def test_what_an_op_selector_reads():
    """A selector written for coremltools: type, name, inputs by field, constants, who makes and who uses a value."""

    @mb.program(input_specs=[mb.TensorSpec((4,))], opset_version=ct.target.iOS18)
    def prog(x):
        return mb.exp(x=mb.mul(x=mb.add(x=x, y=5.0, name="first"), y=3.0, name="second"))

    seen = {}

    def selector(op):
        maker = op.inputs["x"].op
        seen[op.op_type] = (op.name, sorted(op.inputs), maker and maker.op_type, [o.name for o in op.x.child_ops])
        return op.op_type != "mul" and not (op.op_type == "add" and op.y.val == 5.0)

    model = ct.convert(
        prog,
        minimum_deployment_target=ct.target.iOS18,
        compute_precision=ct.transform.FP16ComputePrecision(op_selector=selector),
    )
    assert seen["add"][:2] == ("first", ["x", "y"])
    assert seen["mul"] == ("second", ["x", "y"], "add", ["second"])
    types_of = {op.op_type: op.outputs[0].dtype for op in model.program.main.body.walk() if op.op_type != "const"}
    assert types_of["add"] == types_of["mul"] == types.fp32
    assert types_of["exp"] == types.fp16


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        (types.fp16, {"is_float", "is_primitive", "is_scalar"}),
        (types.int32, {"is_int", "is_signed_int", "is_primitive", "is_scalar"}),
        (types.uint4, {"is_int", "is_unsigned_int", "is_sub_byte", "is_primitive", "is_scalar"}),
        (types.bool, {"is_bool", "is_primitive", "is_scalar"}),
        (types.str, {"is_str", "is_primitive", "is_scalar"}),
        (mb.TensorSpec((1,)).type, {"is_tensor"}),
        (mb.StateTensorSpec((1,)).type, {"is_state"}),
    ],
)
def test_questions_about_types(kind, answers):
    """What lowerings ask: exactly these are true."""
    questions = [name for name in types.__all__ if name.startswith("is_")]
    assert {name for name in questions if getattr(types, name)(kind)} == answers


def test_names_of_types():
    """To and from texts and NumPy's types."""
    assert types.builtin_to_string(types.fp16) == "fp16"
    assert types.string_to_builtin("int32") == types.int32
    assert types.string_to_builtin("nothing") is None
    assert types.nptype_from_builtin(types.fp32) is np.float32
    assert types.numpy_type_to_builtin_type(np.int32) == types.int32
