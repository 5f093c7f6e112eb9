"""Values, blocks, functions, and the builder that makes them."""

import threading

import numpy as np
import pytest

from gristmill.errors import IRError, TypeInferenceError, UnsupportedError
from gristmill.ir import dims, types
from gristmill.ir.builder import mb
from gristmill.ir.builtin import const
from gristmill.ir.constants import constant
from gristmill.ir.opset import Opset, iOS15, iOS17
from gristmill.ir.program import Block, Function, Location, Program, Use
from gristmill.ir.types import TensorType, bool_, fp16, fp32, int32
from gristmill.ir.verify import verify

X = {"x": TensorType(fp32, (2,))}


def op(name: str) -> const:
    return const.of(iOS17, constant(0), name)


def names(block: Block) -> str:
    forth, back = [o.name for o in block], [o.name for o in reversed(block)]
    assert forth == back[::-1], "both directions of the list agree"
    assert len(block) == len(forth)
    assert (block.first and block.first.name) == (forth[0] if forth else None)
    assert (block.last and block.last.name) == (forth[-1] if forth else None)
    return "".join(forth)


# --- blocks ----------------------------------------------------------------------------------------------------------


def test_inserting_and_removing_at_every_place():
    block = Block()
    assert names(block) == ""
    a, b, c, d = map(op, "abcd")
    block.insert(b)
    block.insert(a, before=b)
    block.insert(d)
    block.insert(c, before=d)
    assert names(block) == "abcd"
    for gone, rest in ((b, "acd"), (a, "cd"), (d, "c"), (c, "")):
        block.remove(gone)
        assert names(block) == rest
        assert (gone.block, gone.previous, gone.next) == (None, None, None)
    block.insert(a)
    assert names(block) == "a"


def test_an_op_is_in_one_block():
    one, two = Block(), Block()
    a, b = op("a"), op("b")
    one.insert(a)
    for wrong in (lambda: one.insert(a), lambda: two.insert(a), lambda: two.insert(b, before=a), lambda: two.remove(a)):
        with pytest.raises(IRError):
            wrong()
    assert (names(one), names(two)) == ("a", "")


def test_a_walk_survives_changes():
    """The op at hand may be erased, and ops inserted before and behind it."""
    block = Block()
    for name in "abcd":
        block.insert(op(name))
    seen = []
    for current in block:
        seen.append(current.name)
        if current.name == "b":
            block.insert(op("x"), before=current)
            block.insert(op("y"), before=current.next)
            current.erase()
    assert "".join(seen) == "abcd"
    assert names(block) == "axycd"
    for current in block:
        current.erase()
    assert names(block) == ""
    for name in "abc":
        block.insert(op(name))
    for current in reversed(block):
        current.erase()
    assert names(block) == ""


def branches() -> Function:
    program = Program()
    with mb.function(program, "main", {"p": TensorType(bool_), **X}) as (p, x):
        with mb.nested() as yes:
            mb.output(mb.relu(x=mb.exp(x=x, name="e"), name="r"))
        with mb.nested() as no:
            mb.output(x)
        mb.output(mb.cond(pred=p, blocks=(yes, no), name="c"))
    return program.main


def test_walk_goes_into_blocks():
    function = branches()
    assert [o.name for o in function.body.walk()] == ["c", "e", "r"]
    assert [v.name for v in function.values()] == ["p", "x", "c", "e", "r"]
    inner = function.body.first.blocks[0]
    assert inner.function is function
    assert Block().function is None


# --- uses ------------------------------------------------------------------------------------------------------------


def test_uses_follow_every_change():
    program = Program()
    with mb.function(program, "main", X) as (x,):
        a = mb.relu(x=x, name="a")
        both = mb.add(x=a, y=a, name="both")
        joined = mb.concat(values=[a, both, a], axis=0, interleave=False, name="joined")
        mb.output(a, joined, a)
    body = program.main.body
    assert list(a.uses) == [
        Use(both.producer, "x", 0),
        Use(both.producer, "y", 0),
        Use(joined.producer, "values", 0),
        Use(joined.producer, "values", 2),
        Use(body, None, 0),
        Use(body, None, 2),
    ]
    assert a.users == [both.producer, joined.producer, body]
    with mb.before(both.producer):
        b = mb.exp(x=x, name="b")
    a.replace_uses(b, only=[Use(both.producer, "y", 0), Use(joined.producer, "values", 2), Use(body, None, 2)])
    assert both.producer.operands == {"x": a, "y": b}
    assert joined.producer.operands["values"] == (a, both, b)
    assert body.outputs == (a, joined, b)
    verify(program)
    a.replace_uses(b)
    assert not a.uses
    verify(program)
    a.producer.erase()
    assert [o.name for o in body if o.op_name == "relu"] == []
    verify(program)


def test_what_is_used_is_not_erased():
    program = Program()
    with mb.function(program, "main", X) as (x,):
        y = mb.relu(x=x)
        mb.output(y)
    with pytest.raises(IRError, match="still used"):
        y.producer.erase()
    program.main.body.outputs = ()
    y.producer.erase()
    assert not x.uses


def test_erasing_an_op_erases_its_blocks():
    function = branches()
    function.body.outputs = ()
    function.body.first.erase()
    assert all(not value.uses for value in function.inputs)
    verify(function)


def test_replaced_outputs_forget_their_uses():
    function = branches()
    p, x = function.inputs
    function.body.outputs = (x, x)
    function.body.outputs = (p,)
    assert Use(function.body, None, 0) in p.uses
    assert Use(function.body, None, 0) not in x.uses
    verify(function)


def test_a_value_says_what_it_is_not():
    state = Function("f", {"s": types.StateType(TensorType(fp16, (1,)))}, iOS17).inputs[0]
    with pytest.raises(IRError, match="'s' is not a tensor"):
        _ = state.shape


# --- names -----------------------------------------------------------------------------------------------------------


def test_unique_names():
    program = Program()
    with mb.function(program, "main", {"x": X["x"], "relu": X["x"]}) as (x, _):
        made = [mb.relu(x=x), mb.relu(x=x), mb.relu(x=x, name="x"), mb.relu(x=x, name="relu_0")]
        halves = mb.split(x=x, num_splits=2, axis=0, name="x")
        more = mb.split(x=x, num_splits=2, axis=0, name="x")
        mb.output(*made, *halves, *more)
    assert [v.name for v in made] == ["relu_0", "relu_1", "x_0", "relu_0_0"]
    verify(program)


def test_unique_names_take_constant_time_each():
    """Ten thousand values of one name need ten thousand look-ups, not fifty million."""
    function = Function("f", {}, iOS17)
    asked = [function.unique_name("v") for _ in range(10_000)]
    assert len(set(asked)) == 10_000
    assert asked[-1] == "v_9998"


def test_functions_of_a_program():
    program = Program()
    with pytest.raises(IRError, match="no function 'main'"):
        _ = program.main
    one = program.add_function(Function("one", {}, iOS17))
    assert program.main is one
    program.add_function(Function("two", {}, iOS17))
    with pytest.raises(IRError, match="no function 'main'"):
        _ = program.main
    with pytest.raises(IRError, match="a function of this name"):
        program.add_function(Function("two", {}, iOS17))
    main = program.add_function(Function("main", {}, iOS17))
    assert program.main is main


# --- the builder -----------------------------------------------------------------------------------------------------


def test_there_is_no_builder_outside():
    with pytest.raises(IRError, match="no insertion point"):
        mb.relu(x=None)


def test_constants_take_the_element_type_of_their_mates():
    """A Python number beside a value of float16 is float16, and an int beside floats is a float."""
    program = Program()
    inputs = {"h": TensorType(fp16, (2,)), "i": TensorType(int32, (2,))}
    with mb.function(program, "main", inputs, iOS17) as (h, i):
        assert mb.add(x=h, y=0.5).dtype == fp16
        assert mb.add(x=2, y=h).dtype == fp16
        assert mb.add(x=i, y=1).dtype == int32
        with pytest.raises(IRError):
            mb.add(x=i, y=0.5)
        total = mb.add(x=h, y=np.array([1, 2], np.float16))
        mb.output(total)
    verify(program)


def test_none_counts_as_left_out_and_unknown_operands_are_named():
    program = Program()
    with mb.function(program, "main", X) as (x,):
        mb.output(mb.gelu(x=x, mode=None))
        with pytest.raises(TypeInferenceError, match="no operand 'alpha'"):
            mb.relu(x=x, alpha=1.0)
        with pytest.raises(TypeInferenceError, match="operand 'x' is missing"):
            mb.relu()
        with pytest.raises(UnsupportedError, match=r"unknown op 'reluu'(.|\n)*such as relu"):
            mb.reluu(x=x)
    verify(program)


def test_insertion_points_and_locations():
    """New ops go where the point is, and carry its location or that of the op they stand before."""
    here, there = Location(module="a"), Location(module="b", file="m.py", line=4, source="aten.relu")
    program = Program()
    with mb.function(program, "main", X) as (x,):
        with mb.located(here):
            y = mb.relu(x=x, name="y")
        z = mb.relu(x=y, name="z")
        mb.output(z)
    assert (y.producer.location, z.producer.location) == (here, None)
    with mb.before(y.producer):
        first = mb.exp(x=x, name="first")
    assert first.producer.location is here
    with mb.at(program.main.body, before=z.producer, location=there):
        middle = mb.exp(x=first, name="middle")
    with mb.at(program.main.body):
        mb.relu(x=middle, name="last")
    assert [o.name for o in program.main.body] == ["first", "y", "middle", "z", "last"]
    assert str(middle.producer.location) == "b, aten.relu, m.py:4"
    with pytest.raises(IRError, match="in no block"), mb.before(op("loose")):
        pass


def test_errors_name_op_and_place():
    with mb.function(Program(), "main", X) as (x,), mb.located(Location(module="enc.0")):
        with pytest.raises(TypeInferenceError) as caught:
            mb.matmul(x=x, y=np.ones((3, 3), np.float32), name="m")
        assert caught.value.op == "matmul 'm'"
        assert str(caught.value.location) == "enc.0"


def test_builders_in_threads_do_not_meet():
    """Each thread has its own insertion point."""
    programs = [Program() for _ in range(4)]
    barrier = threading.Barrier(4)

    def build(program: Program) -> None:
        with mb.function(program, "main", X) as (x,):
            barrier.wait()
            for _ in range(50):
                x = mb.relu(x=x)
            mb.output(x)

    threads = [threading.Thread(target=build, args=(p,)) for p in programs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for program in programs:
        verify(program)
        assert len(program.main.body) == 50


def test_shapes_are_followed_through_what_computes_them():
    """A reshape by the parts of another shape keeps the symbolic sizes."""
    n = dims.symbol("n", 1, 8)
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (n, 4))}, Opset.iOS17) as (x,):
        rows = mb.slice_by_size(x=mb.shape(x=x), begin=[0], size=[1])
        target = mb.concat(values=[mb.mul(x=rows, y=2), [2]], axis=0, interleave=False)
        y = mb.reshape(x=x, shape=target)
        mb.output(y)
    assert y.shape == (2 * n, 2)
    verify(program)


def test_opset_names():
    assert (iOS15.text_name, iOS15.proto_name, str(iOS15)) == ("ios15", "CoreML5", "iOS15")
    for opset in Opset:
        assert Opset.parse(opset.text_name) is Opset.parse(opset.proto_name) is opset
