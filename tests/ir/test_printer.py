"""MIL text as it is written; that it reads back is shown in test_parser.py."""

import ctypes
import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.ir import dims, registry, types
from gristmill.ir.builder import mb
from gristmill.ir.compare import difference
from gristmill.ir.constants import ArrayData, BlobData, Constant, LazyData, constant
from gristmill.ir.op import Op
from gristmill.ir.opset import iOS15, iOS17, iOS18
from gristmill.ir.parser import parse_program
from gristmill.ir.printer import print_function, print_program, write_program
from gristmill.ir.program import Program
from gristmill.ir.signature import Operand
from gristmill.ir.traits import Decompresses
from gristmill.ir.types import StateType, TensorType, fp16, fp32, fp64, int32, uint8


def text_of(value: Constant, **options) -> str:
    """How a constant is written as an attribute of a program."""
    program = Program(version="1.3", attributes={"a": value}, plain_scalars=True)
    return print_program(program, **options).removeprefix("program(1.3)\n[a = ").removesuffix("]\n{\n}")


def two_style_program(plain: bool) -> Program:
    program = Program(
        version="1.3" if plain else "1.0",
        attributes={"buildInfo": constant({"coremlc-version": "3404.23.1", "coremltools-version": "9.0"})},
        plain_scalars=plain,
    )
    with mb.function(program, "main", {"x": TensorType(fp32, (1, 4))}, iOS17) as (x,):
        blob = BlobData(fp32, (1, 4), "@model_path/weights/weight.bin", 64)
        y = mb.add(x=x, y=mb.const(blob, name="weight"), name="sum")
        first, second = mb.split(x=y, num_splits=2, axis=1, name="halves")
        mb.output(mb.concat(values=[second, first], axis=1, interleave=False, name="z"))
    return program


def test_the_style_of_version_1_0():
    """Scalars are tensors of rank 0; operands and attributes are sorted; results of one op stand side by side."""
    assert print_program(two_style_program(plain=False)) == (
        "program(1.0)\n"
        "[buildInfo = dict<tensor<string, []>, tensor<string, []>>"
        '({{"coremlc-version", "3404.23.1"}, {"coremltools-version", "9.0"}})]\n'
        "{\n"
        "    func main<ios17>(tensor<fp32, [1, 4]> x) {\n"
        '            tensor<fp32, [1, 4]> weight = const()[name = tensor<string, []>("weight"), val = '
        'tensor<fp32, [1, 4]>(BLOBFILE(path = tensor<string, []>("@model_path/weights/weight.bin"), '
        "offset = tensor<uint64, []>(64)))];\n"
        '            tensor<fp32, [1, 4]> sum = add(x = x, y = weight)[name = tensor<string, []>("sum")];\n'
        '            tensor<int32, []> halves_num_splits = const()[name = tensor<string, []>("halves_num_splits"), '
        "val = tensor<int32, []>(2)];\n"
        '            tensor<int32, []> halves_axis = const()[name = tensor<string, []>("halves_axis"), '
        "val = tensor<int32, []>(1)];\n"
        "            tensor<fp32, [1, 2]> halves_0, tensor<fp32, [1, 2]> halves_1 = split(axis = halves_axis, "
        'num_splits = halves_num_splits, x = sum)[name = tensor<string, []>("halves")];\n'
        '            tensor<int32, []> z_axis = const()[name = tensor<string, []>("z_axis"), '
        "val = tensor<int32, []>(1)];\n"
        '            tensor<bool, []> z_interleave = const()[name = tensor<string, []>("z_interleave"), '
        "val = tensor<bool, []>(false)];\n"
        "            tensor<fp32, [1, 4]> z = concat(axis = z_axis, interleave = z_interleave, "
        'values = (halves_1, halves_0))[name = tensor<string, []>("z")];\n'
        "        } -> (z);\n"
        "}"
    )


def test_the_style_of_version_1_3():
    """The same program as newer compilers write it: scalar types by their name alone."""
    old = print_program(two_style_program(plain=False)).replace("program(1.0)", "program(1.3)")
    new = old
    for dtype in ("string", "uint64", "int32", "bool"):
        new = new.replace(f"tensor<{dtype}, []>", dtype)
    program = two_style_program(plain=True)
    assert print_program(program) == new
    assert print_program(program, plain_scalars=False) == old
    stream = io.StringIO()
    write_program(program, stream)
    assert stream.getvalue() == new


def test_states_nested_blocks_and_ops_without_results():
    program = Program(plain_scalars=True)
    inputs = {"x": TensorType(fp16, (2,)), "s": StateType(TensorType(fp16, (2,)))}
    with mb.function(program, "main", inputs, iOS18) as (x, s):
        mb.write_state(input=s, data=x, name="w")
        with mb.nested() as yes:
            mb.output(x)
        with mb.nested() as no:
            mb.output(mb.read_state(input=s, name="r"))
        pred = mb.const(True, name="p")
        mb.output(mb.cond(pred=pred, blocks=(yes, no), name="c"))
    assert print_program(program) == (
        "program(1.0)\n"
        "{\n"
        "    func main<ios18>(tensor<fp16, [2]> x, state<tensor<fp16, [2]>> s) {\n"
        '            write_state(data = x, input = s)[name = string("w")];\n'
        '            bool p = const()[name = string("p"), val = bool(true)];\n'
        '            tensor<fp16, [2]> c = cond(pred = p)[name = string("c")]\n'
        "                () {\n"
        "                    } -> (x)\n"
        "                () {\n"
        '                        tensor<fp16, [2]> r = read_state(input = s)[name = string("r")];\n'
        "                    } -> (r);\n"
        "        } -> (c);\n"
        "}"
    )


def test_inline_constants_stand_at_their_use_unless_there_are_several():
    """Several uses would become several constants, so the constant then has a line of its own."""
    program = Program(plain_scalars=True)
    with mb.function(program, "main", {"x": TensorType(fp32, (2,))}, iOS15) as (x,):
        one = mb.const(np.float32(1), name="one")
        one.producer.inline = True
        y = mb.add(x=x, y=one, name="y")
        mb.output(y)
    assert 'y = add(x = x, y = fp32(0x1p+0))[name = string("y")];' in print_program(program)
    assert "one" not in print_program(program)
    with mb.at(program.main.body):
        mb.output(mb.mul(x=y, y=one, name="z"))
    assert 'fp32 one = const()[name = string("one"), val = fp32(0x1p+0)];' in print_program(program)
    assert "add(x = x, y = one)" in print_program(program)


libc = ctypes.CDLL(None)


def c_hex(value: float) -> str:
    """What C's printf makes of a number with %a."""
    buffer = ctypes.create_string_buffer(64)
    libc.snprintf(buffer, 64, b"%a", ctypes.c_double(value))
    return buffer.value.decode()


@given(st.one_of(st.floats(width=16), st.floats(width=32), st.floats()).filter(lambda x: not math.isnan(x)))
def test_floats_are_written_as_c_writes_them(value):
    assert text_of(constant(value, fp64)) == f"fp64({c_hex(value)})"


def test_floats_of_each_width_are_exact():
    """Subnormals, the largest numbers, signed zero and infinities; numbers worked out from the formats."""
    half = np.array([2**-24, 65504, -0.0, np.inf, 21 * 2**-21], np.float16)
    assert text_of(constant(half)) == "tensor<fp16, [5]>([0x1p-24, 0x1.ffcp+15, -0x0p+0, inf, 0x1.5p-17])"
    single = np.array([2**-149, np.finfo(np.float32).max, -np.inf, 0], np.float32)
    assert text_of(constant(single)) == "tensor<fp32, [4]>([0x1p-149, 0x1.fffffep+127, -inf, 0x0p+0])"


def test_a_nan_with_unusual_bits_shows_them():
    bits = np.array([0x7E00, 0xFE00, 0x7C01], np.uint16).view(np.float16)
    assert text_of(constant(bits)) == "tensor<fp16, [3]>([nan, nan(0xfe00), nan(0x7c01)])"


def test_integers_bools_strings_and_nesting():
    assert text_of(constant(np.array([[1, -2], [3, 4]], np.int8))) == "tensor<int8, [2, 2]>([[1, -2], [3, 4]])"
    assert text_of(constant(np.uint64(2**64 - 1))) == "uint64(18446744073709551615)"
    assert text_of(Constant(TensorType(types.int4, (2,)), ArrayData(np.array([-8, 7], np.int8), types.int4))) == (
        "tensor<int4, [2]>([-8, 7])"
    )
    assert text_of(constant(np.array([True, False]))) == "tensor<bool, [2]>([true, false])"
    assert text_of(constant(["a", 'b"\\\n\x01é'])) == 'tensor<string, [2]>(["a", "b\\"\\\\\\n\\u0001é"])'
    assert text_of(constant(np.zeros((3, 0, 10**9), np.float32))) == "tensor<fp32, [3, 0, 1000000000]>([])"


def test_long_constants_can_be_left_out_without_reading_them():
    """What is left out is marked, and a constant that is costly to make is not made."""

    def produce():
        raise AssertionError("read in vain")

    lazy = constant(LazyData(fp32, (1000,), produce))
    assert text_of(lazy, max_elements=999) == "tensor<fp32, [1000]>(ELIDED)"
    assert text_of(constant(np.ones(2, np.float32)), max_elements=2) == "tensor<fp32, [2]>([0x1p+0, 0x1p+0])"
    blob = constant(BlobData(int32, (10**9,), "w", 64))
    assert text_of(blob, max_elements=1) == (
        'tensor<int32, [1000000000]>(BLOBFILE(path = string("w"), offset = uint64(64)))'
    )


def test_dimensions():
    """Expressions carry the bounds of their symbols. `?` is written where reading it gives the same dimension again."""
    n, a, b = dims.symbol("n", 1, 128), dims.unknown(), dims.unknown()
    program = Program()
    inputs = {"x": TensorType(fp32, (n, 2 * n + 1)), "y": TensorType(fp32, (a, b)), "z": TensorType(fp32, (b,))}
    with mb.function(program, "main", inputs) as (_, y, _):
        mb.output(mb.relu(x=y, name="r"))
    text = print_program(program)
    assert "tensor<fp32, [n{1..128}, 2*n{1..128}+1]> x" in text
    assert f"tensor<fp32, [?, {b}]> y, tensor<fp32, [{b}]> z" in text
    assert f"tensor<fp32, [?, {b}]> r" in text


def test_names_that_are_not_identifiers_are_quoted():
    program = Program(plain_scalars=True)
    with mb.function(program, "my main", {"x.1": TensorType(fp32, (1,))}) as (x,):
        mb.output(mb.relu(x=x, name='a"b'))
    assert 'func "my main"<ios15>(tensor<fp32, [1]> "x.1")' in print_program(program)
    assert 'tensor<fp32, [1]> "a\\"b" = relu(x = "x.1")[name = string("a\\"b")];' in print_program(program)


def test_a_function_for_people():
    with mb.function(Program(), "f", {"x": TensorType(fp32, (99,))}) as (x,):
        mb.output(mb.add(x=x, y=np.ones(99, np.float32), name="y"))
        text = print_function(mb.point.function)
    assert text.startswith("    func f<ios15>(tensor<fp32, [99]> x) {\n")
    assert "val = tensor<fp32, [99]>(ELIDED)" in text


class tabled(Op):
    """A compressed constant: entries of a table."""

    indices = Operand(uint8, const=True)
    table = Operand(fp16, const=True)
    traits = (Decompresses,)

    def infer(self):
        return TensorType(fp16, self.indices.shape)


@pytest.mark.parametrize("opset", [iOS17, iOS18])
def test_compressed_constants_carry_attributes_before_ios18(monkeypatch, opset):
    """Until iOS18 immediate operands of such ops are attributes, from then on they are operands; both read back."""
    monkeypatch.setitem(registry._ops, "tabled", tabled)
    program = Program(plain_scalars=True)
    with mb.function(program, "main", {}, opset):
        indices, table = mb.const(np.array([1, 0], np.uint8)), mb.const(np.array([1, 2], np.float16))
        indices.producer.inline = table.producer.inline = True
        mb.output(mb.tabled(indices=indices, table=table, name="w"))
    text = print_program(program)
    i, t = "indices = tensor<uint8, [2]>([1, 0])", "table = tensor<fp16, [2]>([0x1p+0, 0x1p+1])"
    name = 'name = string("w")'
    expected = f"w = tabled({i}, {t})[{name}];" if opset == iOS18 else f"w = tabled()[{i}, {name}, {t}];"
    assert expected in text
    assert difference(parse_program(text), program) is None
    assert print_program(parse_program(text)) == text
