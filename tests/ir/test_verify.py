"""The verifier finds each broken rule, and nothing in valid programs (those are in test_parser.py's property test)."""

import numpy as np
import pytest

from gristmill.errors import IRError
from gristmill.ir import dims, registry
from gristmill.ir.builder import mb
from gristmill.ir.clone import clone_function, clone_program
from gristmill.ir.compare import difference
from gristmill.ir.op import Effect, Op
from gristmill.ir.opset import Opset, iOS15, iOS17, iOS18
from gristmill.ir.program import Block, Function, Location, Program, Use, Value
from gristmill.ir.signature import ANY, OfType, Operand
from gristmill.ir.traits import ReadsState, WritesState
from gristmill.ir.types import StateType, TensorType, bool_, fp16, fp32, int32, unit_float
from gristmill.ir.verify import problems, verify
from tests.timing import processor_seconds


def chain(*names: str, opset: Opset = iOS17) -> Function:
    """``relu`` after ``relu``, with the given names."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (2,))}, opset) as (x,):
        for name in names:
            x = mb.relu(x=x, name=name)
        mb.output(x)
    return program.main


def named(function: Function, name: str) -> Op:
    return next(op for op in function.body.walk() if op.name == name)


def only_problem(function: Function | Program, match: str, **options) -> IRError:
    """The one rule that is broken."""
    found = list(problems(function, **options))
    assert [error for error in found if match in str(error)], f"expected {match!r}, found {found}"
    assert len(found) == 1, [str(error) for error in found]
    with pytest.raises(type(found[0])):
        verify(function, **options)
    return found[0]


def test_a_use_before_the_definition():
    """Named with op, function and source location."""
    function = chain("a", "b")
    b = named(function, "b")
    b.location = Location(module="encoder.layer.0", file="model.py", line=3)
    function.body.remove(b)
    function.body.insert(b, before=named(function, "a"))
    error = only_problem(function, "operand 'x' is not visible here")
    assert error.op == "relu 'b'"
    assert str(error.location) == "function 'main', encoder.layer.0, model.py:3"


def test_a_value_of_a_nested_block_is_not_visible_outside():
    program = Program()
    with mb.function(program, "main", {"p": TensorType(bool_), "x": TensorType(fp32, (2,))}) as (p, x):
        with mb.nested() as yes:
            inner = mb.relu(x=x, name="inner")
            mb.output(inner)
        with mb.nested() as no:
            mb.output(x)
        mb.cond(pred=p, blocks=(yes, no), name="c")
        mb.output(mb.relu(x=inner, name="outer"))
    assert only_problem(program, "operand 'x' is not visible here").op == "relu 'outer'"


def test_a_value_of_another_function_is_not_visible():
    program = Program()
    with mb.function(program, "one", {"x": TensorType(fp32, (2,))}) as (x,):
        mb.output(x)
    with mb.function(program, "two", {"y": TensorType(fp32, (2,))}):
        mb.output(mb.relu(x=x, name="r"))
    found = list(problems(program))
    assert "operand 'x' is not visible here" in str(found[-1])
    assert found[-1].location == "function 'two'"


def test_an_output_that_nothing_makes():
    function = chain("a")
    function.body.set_output(0, Value(TensorType(fp32, (2,)), "ghost"))
    only_problem(function, "output 0 of the block is not visible")


def test_names_are_unique_in_a_function_with_its_blocks():
    function = chain("a", "b")
    named(function, "b").result.name = "a"
    only_problem(function, "unique names")
    function.outputs[0].name = ""
    only_problem(function, "unique names")


def test_uses_agree_with_operands():
    function = chain("a", "b")
    a, b = named(function, "a"), named(function, "b")
    use = Use(b, "x", 0)
    del a.result.uses[use]
    found = list(problems(function))
    assert "does not know of its use" in str(found[0])
    a.result.uses[use] = None
    verify(function)
    a.result.uses[Use(b, "y", 0)] = None
    assert "keeps uses that are not there" in str(only_problem(function, "value 'a'"))


def test_an_erased_user_that_left_its_use_behind():
    function = chain("a", "b")
    b = named(function, "b")
    function.body.outputs = (named(function, "a").result,)
    function.body.remove(b)
    error = only_problem(function, "value 'a' keeps uses")
    assert "relu 'b'" in str(error.actual)


def test_declared_results_are_compatible_with_inferred_ones():
    function = chain("a")
    function.outputs[0].type = TensorType(fp32, (3,))
    error = only_problem(function, "type of result 'a'")
    assert (str(error.expected), str(error.actual)) == ("tensor<fp32, [2]>", "tensor<fp32, [3]>")
    function.outputs[0].type = TensorType(fp32, (dims.symbol("n"),))
    verify(function)
    function.outputs[0].type = TensorType(fp16, (2,))
    only_problem(function, "type of result 'a'")


def test_fresh_ops_are_held_against_the_structure_alone():
    """What constructors check is passed over where nothing changed since; what a block is made of is not."""
    function = chain("a", "b")
    named(function, "b").result.type = TensorType(fp16, (2,))
    only_problem(function, "type of result")
    assert not list(problems(function, fresh=True))
    named(function, "b").result.name = "a"
    only_problem(function, "unique names", fresh=True)


def test_the_number_of_results():
    function = chain("a")
    op = named(function, "a")
    op.results.append(Value(TensorType(fp32, (2,)), "more", producer=op))
    only_problem(function, "number of results")


def test_operands_fit_the_signature():
    """Types, missing and unknown operands, after somebody changed them behind the op's back."""
    function = chain("a", "b")
    b = named(function, "b")
    named(function, "a").result.type = TensorType(int32, (2,))
    assert any("operand 'x' does not fit" in str(error) and error.op == "relu 'b'" for error in problems(function))
    function = chain("a")
    op = named(function, "a")
    op.operands["y"] = op.operands.pop("x")
    assert any("no operand 'y'" in str(error) for error in problems(function))
    assert b.operands


def test_one_element_type_for_one_variable():
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (2,)), "y": TensorType(fp32, (2,))}) as (x, y):
        mb.output(mb.add(x=x, y=y, name="s"))
    y.type = TensorType(fp16, (2,))
    only_problem(program, "operands 'x' and 'y' have one element type")


def test_the_opset_is_the_function_s():
    function = chain("a")
    named(function, "a").opset = iOS15
    only_problem(function, "another opset")


def test_an_op_that_its_opset_does_not_have():
    program = Program()
    with mb.function(program, "main", {"s": StateType(TensorType(fp16, (2,)))}, iOS18) as (s,):
        mb.output(mb.read_state(input=s, name="r"))
    function = program.main
    function.opset = named(function, "r").opset = iOS17
    only_problem(function, "the op is not in this opset")


def test_untyped_values_do_not_survive_planning():
    program = Program()
    with mb.function(program, "main", {"x": TensorType(unit_float, (2,))}) as (x,):
        mb.output(mb.relu(x=x, name="r"))
    verify(program)
    assert [error.op for error in problems(program, planned=True)] == [None, "relu 'r'"]


def test_links_between_ops():
    function = chain("a", "b", "c")
    b = named(function, "b")
    b.previous = None
    assert any("list of ops is broken: relu 'b' is linked wrongly" in str(error) for error in problems(function))
    function = chain("a", "b")
    named(function, "b").next = named(function, "a")  # a ring must not keep the verifier busy
    assert any("list of ops is broken" in str(error) for error in problems(function))


def conditional() -> Program:
    program = Program()
    with mb.function(program, "main", {"p": TensorType(bool_), "x": TensorType(fp32, (2,))}) as (p, x):
        with mb.nested() as yes:
            mb.output(x, x)
        with mb.nested() as no:
            mb.output(x, x)
        mb.output(*mb.cond(pred=p, blocks=(yes, no), name="c"))
    return program


def test_blocks_of_control_flow_agree():
    program = conditional()
    verify(program)
    op = named(program.main, "c")
    op.blocks[1].outputs = op.blocks[1].outputs[:1]
    only_problem(program, "the blocks' outputs")
    program = conditional()
    op = named(program.main, "c")
    op.blocks = op.blocks[:1]
    assert any("two blocks" in str(error) for error in problems(program))


def test_a_block_stands_in_one_place():
    """A block inside itself would keep every walk busy for ever."""
    program = conditional()
    op = named(program.main, "c")
    op.blocks = (op.blocks[0], op.blocks[0])
    assert any("two places" in str(error) for error in problems(program))
    program = conditional()
    op = named(program.main, "c")
    op.blocks = (program.main.body, op.blocks[1])
    assert any("two places" in str(error) for error in problems(program))


def test_deep_nesting_is_a_problem_not_a_crash():
    program = Program()
    with mb.function(program, "main", {"p": TensorType(bool_), "x": TensorType(fp32, (2,))}) as (p, x):
        block = None
        for _ in range(120):
            with mb.nested() as outer:
                if block is not None:
                    with mb.nested() as other:
                        mb.output(x)
                    mb.output(mb.cond(pred=p, blocks=(block, other)))
                else:
                    mb.output(x)
            block = outer
        with mb.nested() as other:
            mb.output(x)
        mb.output(mb.cond(pred=p, blocks=(block, other)))
    assert any("nested too deeply" in str(error) for error in problems(program))


def test_only_control_flow_has_blocks():
    function = chain("a")
    op = named(function, "a")
    op.blocks = (Block(owner=op),)
    only_problem(function, "blocks belong to control flow")


class peek(Op):
    """Takes a state without saying what it does with it."""

    input = Operand(ANY)

    def infer(self):
        return TensorType(fp16, (2,))


class sly(Op):
    """Says that it reads, but lacks the trait that passes look at."""

    input = Operand(OfType(StateType))
    traits = (WritesState,)

    def infer(self):
        return ()

    def effects(self):
        return (Effect("read", self.input),)


class elsewhere(Op):
    """Reads a state that is not its operand."""

    traits = (ReadsState,)
    target: Value

    def infer(self):
        return ()

    def effects(self):
        return (Effect("read", self.target),)


def test_effects_on_states(monkeypatch):
    for cls in (peek, sly, elsewhere):
        monkeypatch.setitem(registry._ops, cls.__name__, cls)
    for name, operands, message in (
        ("peek", {"input": 0}, "without declaring an effect"),
        ("sly", {"input": 0}, "lacks the trait for its effect 'read'"),
        ("elsewhere", {}, "an effect on what is not its operand"),
    ):
        program = Program()
        with mb.function(program, "main", {"s": StateType(TensorType(fp16, (2,)))}, iOS18) as arguments:
            elsewhere.target = arguments[0]
            mb.op(name, **{slot: arguments[index] for slot, index in operands.items()})
        only_problem(program, message)


def test_states_are_inputs_of_functions():
    program = Program()
    with mb.function(program, "main", {"s": StateType(TensorType(fp16, (2,)))}, iOS18) as (s,):
        mb.output(s)
    only_problem(program, "output 0 is a state")


def test_functions_are_registered_under_their_names():
    program = conditional()
    program.functions["other"] = program.functions.pop("main")
    only_problem(program, "another name")


def test_time_is_linear():
    """Eight times the ops take about eight times the time; quadratic behaviour would take sixty-four times."""
    short, long = (chain(*(f"r{k}" for k in range(count))) for count in (1000, 8000))
    assert processor_seconds(lambda: verify(long)) < 16 * processor_seconds(lambda: verify(short))


# --- copies and comparison -------------------------------------------------------------------------------------------


def test_a_copy_is_equal_and_independent():
    program = conditional()
    copied = clone_program(program)
    verify(copied)
    assert difference(program, copied) is None
    assert not set(program.main.values()) & set(copied.main.values())
    with mb.at(copied.main.body):
        mb.output(*(mb.relu(x=value) for value in copied.main.outputs))
    verify(program)
    verify(copied)
    assert "relu" in difference(program, copied)


def test_a_copied_function_has_another_name_and_takes_new_values():
    function = chain("a")
    copied = clone_function(function, "second")
    assert copied.name == "second"
    assert copied.body.function is copied
    assert copied.unique_name("a") == "a_0"
    verify(copied)


def program_with(value, *, name="c", shape=(2,)) -> Program:
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, shape)}) as (x,):
        mb.output(mb.add(x=x, y=mb.const(value, name=name), name="s"))
    return program


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (program_with(np.array([1, -0.0], np.float32)), "attribute 'val'"),
        (program_with(np.array([1, 0], np.float32), name="d"), "const 'c'"),
        (program_with(np.array([1, 0], np.float32), shape=(1,)), "arguments"),
        (program_with(np.array([1, 0], np.float32), shape=(dims.symbol("n"),)), "arguments"),
        (conditional(), "arguments"),
    ],
)
def test_differences_are_found_and_named(other, words):
    """Bits of constants, names, types."""
    assert words in difference(program_with(np.array([1, 0], np.float32)), other)


def test_unknown_sizes_correspond_one_to_one():
    """Their names do not matter, but which of them are the same does."""

    def square(*shapes):
        function = Function("f", {f"x{k}": TensorType(fp32, shape) for k, shape in enumerate(shapes)}, iOS15)
        return function

    a, b, c = dims.unknown(), dims.unknown(), dims.unknown()
    assert difference(square((a, b), (a,)), square((b, c), (b,))) is None
    assert difference(square((a, b), (a,)), square((b, c), (c,))) is not None
    assert difference(square((a, a)), square((b, c))) is not None
    assert difference(square((a, b)), square((c, c))) is not None
    assert difference(square((a,), (2 * a,)), square((b,), (2 * b,))) is None
    assert difference(square((a,), (2 * a,)), square((b,), (3 * b,))) is not None
