"""How ops declare operands: presence, types, defaults and what changes between opsets."""

import numpy as np
import pytest

from gristmill.errors import IRError, TypeInferenceError
from gristmill.ir import registry
from gristmill.ir.builder import mb
from gristmill.ir.constants import constant
from gristmill.ir.op import Op
from gristmill.ir.opset import iOS15, iOS16, iOS17, iOS18
from gristmill.ir.program import Program
from gristmill.ir.signature import ANY, ByOpset, Const, OfType, Operand, OptionalOperand, TypeVar, Variadic
from gristmill.ir.traits import Elementwise, Exact, Pooling, Reshapes
from gristmill.ir.types import ListType, StateType, TensorType, fp16, fp32, int32, string, uint8, unit_float


class sample(Op):
    """Has every kind of operand; the tests read the fields back."""

    T = TypeVar(fp16, fp32).also(iOS17, int32)

    x = Operand(T, rank=(1, 2))
    y = OptionalOperand(T)
    table = Operand((fp16, uint8), const=True, since=iOS18)
    old = OptionalOperand(fp32, until=iOS16)
    rest = Variadic(T, optional=True)
    mode = Const(str, default="A", choices=("A", "B"))
    k = Const(int, default=ByOpset({iOS15: 1, iOS17: 2}))
    alpha = Const(float, default=lambda op: float(op.k) / 2)
    axes = Const.ints(default=None)
    pads = Const.ints(default=(0, 0))
    flags = Const.bools(default=())
    scales = Const.floats(default=(1.0,))
    traits = (Elementwise,)

    def infer(self):
        return self.x.type


class strict(Op):
    """Constraints that change with the opset, and operands that are not tensors."""

    n = Const(int, ByOpset({iOS15: int32, iOS18: (int32, uint8)}))
    any = OptionalOperand(ANY)
    items = OptionalOperand(OfType(ListType))

    since, until = iOS15, None

    def infer(self):
        return ()


class brief(Op):
    """Exists in two opsets only."""

    since, until = iOS16, iOS18

    def infer(self):
        return ()


@pytest.fixture(autouse=True)
def _test_ops(monkeypatch):
    for cls in (sample, strict, brief):
        monkeypatch.setitem(registry._ops, cls.__name__, cls)


def make(name: str, opset=iOS17, inputs=None, **operands) -> Op:
    """An op in a function of its own; names of inputs stand for them."""
    inputs = inputs or {"x": TensorType(fp32, (2,))}
    program = Program()
    with mb.function(program, "main", inputs, opset) as arguments:
        known = dict(zip(inputs, arguments, strict=True))

        def named(value):
            if isinstance(value, list):
                return [named(item) for item in value]
            return known.get(value, value) if isinstance(value, str) else value

        mb.op(name, **{slot: named(value) for slot, value in operands.items()})
    return program.main.body.last


def refused(match: str, name: str, opset=iOS17, inputs=None, **operands) -> TypeInferenceError:
    with pytest.raises(TypeInferenceError, match=match) as caught:
        make(name, opset, inputs, **operands)
    assert caught.value.op.startswith(name)
    return caught.value


def test_fields_read_back_as_operands_and_plain_values():
    """From the class a declaration, from an op the operand: a value, a tuple of them, or plain Python."""
    assert isinstance(sample.x, Operand)
    op = make("sample", x="x", y=1.0, rest=[2.0, "x"], mode="B", k=5, axes=[1, 2], flags=[True])
    assert (op.x.name, op.y.constant.python(), len(op.rest)) == ("x", 1.0, 2)
    assert (op.mode, op.k, op.axes, op.flags) == ("B", 5, (1, 2), (True,))


def test_defaults():
    """Plain, by opset, depending on the op, and none."""
    op = make("sample", x="x")
    assert (op.mode, op.k, op.alpha, op.axes, op.pads, op.scales) == ("A", 2, 1.0, None, (0, 0), (1.0,))
    assert (op.y, op.rest, op.old, op.flags) == (None, (), None, ())
    older = make("sample", iOS16, x="x")
    assert (older.k, older.alpha) == (1, 0.5)
    assert make("sample", x="x", k=8).alpha == 4.0


def test_operands_exist_in_some_opsets():
    assert make("sample", iOS15, x="x", old=1.0).old is not None
    assert "no operand 'old' in iOS16" in str(refused("no operand 'old'", "sample", iOS16, x="x", old=1.0))
    refused("no operand 'table'", "sample", iOS17, x="x", table=np.ones(2, np.uint8))
    refused("operand 'table' is missing", "sample", iOS18, x="x")
    assert make("sample", iOS18, x="x", table=np.ones(2, np.uint8)).table.dtype == uint8


def test_ops_exist_in_some_opsets():
    for opset in (iOS16, iOS17):
        make("brief", opset)
    for opset in (iOS15, iOS18):
        error = refused("not in this opset", "brief", opset)
        assert (error.expected, error.actual) == ("iOS16 up to before iOS18", opset)


def test_a_type_variable_grows_with_the_opset():
    ints = {"x": TensorType(int32, (2,))}
    assert make("sample", iOS17, ints, x="x").result.dtype == int32
    error = refused("operand 'x' does not fit", "sample", iOS16, ints, x="x")
    assert error.expected == "a tensor of fp16, fp32, unit_float (iOS16)"
    assert error.actual == ints["x"]


def test_untyped_values_pass_where_float32_does():
    make("sample", inputs={"x": TensorType(unit_float, (2,))}, x="x")
    inputs = {"x": TensorType(fp32, (2,)), "t": TensorType(unit_float, (2,))}
    refused("operand 'table' does not fit", "sample", iOS18, inputs, x="x", table="t")


def test_a_type_variable_is_one_type():
    """Also among the values of one variadic operand."""
    inputs = {"x": TensorType(fp32, (2,)), "h": TensorType(fp16, (2,))}
    refused("operands 'x' and 'y' have one element type", "sample", inputs=inputs, x="x", y="h")
    refused("operands 'x' and 'rest' have one element type", "sample", inputs=inputs, x="x", rest=["x", "h"])


def test_ranks():
    for shape in ((), (1, 1, 1)):
        error = refused("operand 'x' does not fit", "sample", inputs={"x": TensorType(fp32, shape)}, x="x")
        assert "rank 1 to 2" in error.expected
    refused("operand 'axes' does not fit", "sample", x="x", axes=1)
    refused("operand 'k' does not fit", "sample", x="x", k=[1])


def test_constants_are_constant():
    inputs = {"x": TensorType(fp32, (2,)), "k": TensorType(int32), "t": TensorType(fp16, (2,))}
    refused("operand 'k' does not fit", "sample", inputs=inputs, x="x", k="k")
    error = refused("operand 'table' does not fit", "sample", iOS18, inputs, x="x", table="t")
    assert error.expected.startswith("a constant")


def test_choices():
    error = refused("unknown value", "sample", x="x", mode="C")
    assert (error.expected, error.actual) == ("'A', 'B'", "'C'")


def test_constraints_by_opset_and_operands_that_are_no_tensors():
    assert make("strict", iOS18, n=constant(np.uint8(3))).n == 3
    refused("operand 'n' does not fit", "strict", iOS17, n=constant(np.uint8(3)))
    inputs = {"l": ListType(TensorType(fp32, (1,))), "s": StateType(TensorType(fp16, (1,)))}
    assert make("strict", inputs=inputs, n=1, any="s", items="l").items.name == "l"
    refused("operand 'items' does not fit", "strict", inputs=inputs, n=1, items="s")
    refused("operand 'n' is missing", "strict")


def test_a_single_operand_is_one_value():
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (2,))}) as (x,):
        for values in ([x, x], []):
            with pytest.raises(TypeInferenceError, match="operand 'x' is one value"):
                sample(iOS17, {"x": values})
        assert not x.uses, "a refused op leaves no use behind"


def test_an_op_that_cannot_be_inferred_leaves_no_use_behind():
    with mb.function(Program(), "main", {"x": TensorType(fp32, (2, 3))}) as (x,):
        with pytest.raises(TypeInferenceError):
            mb.concat(values=[x, x], axis=7, interleave=False)
        assert not x.uses


def test_traits_are_asked_with_their_bases():
    assert sample.has(Elementwise)
    assert not sample.has(Pooling)
    assert registry.lookup("reshape", iOS15).has(Reshapes)
    assert registry.lookup("reshape", iOS15).has(Exact)


def test_names_are_registered_once():
    class relu(Op):
        pass

    with pytest.raises(ValueError, match="two ops are called 'relu'"):
        registry.register(relu)
    assert registry.find("no_such_op") is None


def test_params_are_inherited_and_ordered():
    class derived(sample):
        extra = Const(str, default="")

    assert list(derived.params) == [*sample.params, "extra"]
    assert string  # the natural type of a str
    with pytest.raises(IRError, match="operand 'n' is missing"):
        _ = strict.n.default_for(make("brief"))
