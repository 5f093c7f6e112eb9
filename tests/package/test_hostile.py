"""Files from strangers: whatever is wrong with them, one of our errors says so, soon and in little memory."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.errors import FormatError, GristmillError
from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import StateType, TensorType, fp16, fp32, int32
from gristmill.package import Package, load, proto
from gristmill.package.mil_reader import read_program
from gristmill.package.mil_values import Weights

MODEL = "Data/com.apple.CoreML/model.mlmodel"


def everything() -> Program:
    """Something of each kind that a program's message can have."""
    program = Program()
    inputs = {"x": TensorType(fp16, (2, 12)), "memory": StateType(TensorType(fp16, (2, 12)))}
    with mb.function(program, "main", inputs, Opset.iOS18) as (x, memory):
        weight = mb.const(np.ones((12, 12), np.float16), name="w")
        y = mb.linear(x=x, weight=weight)
        y = mb.add(x=y, y=mb.read_state(input=memory))
        mb.write_state(input=memory, data=y)
        with mb.nested({"i": TensorType(int32), "v": y.type}) as test:
            mb.output(mb.less(x=test.arguments[0], y=3))
        with mb.nested({"i": TensorType(int32), "v": y.type}) as body:
            mb.output(mb.add(x=body.arguments[0], y=1), mb.relu(x=body.arguments[1]))
        _, y = mb.while_loop(loop_vars=(mb.const(0), y), blocks=(test, body))
        a, b = mb.split(x=y, num_splits=2, axis=1)
        mb.output(mb.concat(values=[b, a], axis=1, interleave=False, name="out"), mb.shape(x=a, name="size"))
    return program


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Package.from_program(everything()).save(tmp_path_factory.mktemp("hostile") / "m.mlpackage")


@pytest.fixture
def spec(saved: Path) -> Any:
    """A message that a test may spoil; its weights are not at hand."""
    model = load(saved).spec
    ops = block(model).operations
    del ops[0]  # the constant in the weight file
    ops[0].inputs["weight"].arguments[0].value.CopyFrom(value(fp16_type=10, shape=(12, 12), data=bytes(288)))
    return model


def block(model: Any) -> Any:
    return model.mlProgram.functions["main"].block_specializations["CoreML8"]


def value(fp16_type: int, shape: tuple[int, ...], data: bytes) -> Any:
    made = proto.message("MILSpec.Value")()
    made.type.tensorType.dataType = fp16_type
    made.type.tensorType.rank = len(shape)
    for size in shape:
        made.type.tensorType.dimensions.add().constant.size = size
    made.immediateValue.tensor.bytes.values = data
    return made


@contextlib.contextmanager
def modest(seconds: float = 1.0, megabytes: float = 64.0) -> Iterator[None]:
    """Asserts what the block takes: a second is the promise, memory is far above what such a small file needs.

    Seconds are the processor's, here and below: others may use the machine.
    """
    tracemalloc.start()
    start = time.process_time()
    try:
        yield
        assert time.process_time() - start < seconds * 2  # twice, since tracing allocations slows Python down
        assert tracemalloc.get_traced_memory()[1] < megabytes * 2**20
    finally:
        tracemalloc.stop()


def refused(model: Any, match: str) -> None:
    with modest(), pytest.raises(GristmillError, match=match):
        read_program(model.mlProgram, Weights())


def test_the_sample_itself_is_fine(spec: Any) -> None:
    """The tests below spoil something that reads."""
    assert read_program(spec.mlProgram, Weights()).main.outputs[0].name == "out"


def op_named(model: Any, kind: str) -> Any:
    return next(op for op in block(model).operations if op.type == kind)


def unknown_op(m: Any) -> None:
    op_named(m, "linear").type = "linea"


def unknown_opset(m: Any) -> None:
    m.mlProgram.functions["main"].opset = "CoreML99"


def missing_block(m: Any) -> None:
    m.mlProgram.functions["main"].opset = "CoreML7"


def unknown_attribute(m: Any) -> None:
    op_named(m, "linear").attributes["speed"].CopyFrom(value(10, (1,), bytes(2)))


def unknown_operand(m: Any) -> None:
    op_named(m, "linear").inputs["speed"].arguments.add(name="x")


def missing_operand(m: Any) -> None:
    del op_named(m, "linear").inputs["x"]


def unbound_operand(m: Any) -> None:
    op_named(m, "linear").inputs["x"].arguments[0].Clear()


def undefined_value(m: Any) -> None:
    op_named(m, "linear").inputs["x"].arguments[0].name = "nobody"


def cycle(m: Any) -> None:
    first, last = op_named(m, "linear"), op_named(m, "while_loop")
    first.inputs["x"].arguments[0].name = last.outputs[1].name


def own_result(m: Any) -> None:
    op = op_named(m, "linear")
    op.inputs["x"].arguments[0].name = op.outputs[0].name


def value_of_a_nested_block(m: Any) -> None:
    inner = op_named(m, "while_loop").blocks[1].outputs[1]
    op_named(m, "split").inputs["x"].arguments[0].name = inner


def twice(m: Any) -> None:
    block(m).operations.append(op_named(m, "linear"))


def undefined_output(m: Any) -> None:
    block(m).outputs.append("nobody")


def blocks_in_a_plain_op(m: Any) -> None:
    op_named(m, "linear").blocks.add()


def other_result_type(m: Any) -> None:
    op_named(m, "linear").outputs[0].type.tensorType.dataType = 23


def huge_dimension(m: Any) -> None:
    op_named(m, "linear").outputs[0].type.tensorType.dimensions[0].constant.size = 2**64 - 1


def huge_constant(m: Any) -> None:
    op_named(m, "linear").inputs["weight"].arguments[0].value.CopyFrom(value(10, (10**9, 12), bytes(288)))


def overflowing_constant(m: Any) -> None:
    op_named(m, "linear").inputs["weight"].arguments[0].value.CopyFrom(value(10, (2**32, 2**32, 144), bytes(288)))


def overflowing_empty_constant(m: Any) -> None:
    op_named(m, "linear").inputs["weight"].arguments[0].value.CopyFrom(value(10, (2**62, 2**62, 0), b""))


def rank_of_a_constant(m: Any) -> None:
    op_named(m, "linear").inputs["weight"].arguments[0].value.CopyFrom(value(10, (1,) * 100, bytes(2)))


def rank_that_disagrees(m: Any) -> None:
    op_named(m, "linear").outputs[0].type.tensorType.rank = 7


def unknown_rank(m: Any) -> None:
    op_named(m, "linear").outputs[0].type.tensorType.rank = -1


def unknown_type(m: Any) -> None:
    op_named(m, "linear").outputs[0].type.tensorType.dataType = 99


def narrow_type(m: Any) -> None:
    op_named(m, "linear").outputs[0].type.tensorType.dataType = 40


def no_type(m: Any) -> None:
    op_named(m, "linear").outputs[0].ClearField("type")


def other_contents(m: Any) -> None:
    constant = op_named(m, "linear").inputs["weight"].arguments[0].value
    constant.immediateValue.tensor.floats.values.extend([1.0] * 144)


def weights_without_a_folder(m: Any) -> None:
    constant = op_named(m, "linear").inputs["weight"].arguments[0].value
    constant.blobFileValue.fileName = "@model_path/weights/weight.bin"


def state_as_a_result(m: Any) -> None:
    t = op_named(m, "linear").outputs[0].type
    inner = proto.message("MILSpec.ValueType")()
    inner.CopyFrom(t)
    t.stateType.wrappedType.CopyFrom(inner)


def state_of_a_list(m: Any) -> None:
    m.mlProgram.functions["main"].inputs[1].type.stateType.wrappedType.listType.SetInParent()


def program_version(m: Any) -> None:
    m.mlProgram.version = 2


def same_input_twice(m: Any) -> None:
    m.mlProgram.functions["main"].inputs.append(m.mlProgram.functions["main"].inputs[0])


SPOILED: list[tuple[Callable[[Any], None], str]] = [
    (unknown_op, "unknown op 'linea'"),
    (unknown_opset, "unknown operation set"),
    (missing_block, "no block for its opset"),
    (unknown_attribute, "no attribute 'speed'"),
    (unknown_operand, "no operand 'speed'"),
    (missing_operand, "operand 'x' is missing"),
    (unbound_operand, "bound to nothing"),
    (undefined_value, "nothing makes it"),
    (cycle, "before it is made"),
    (own_result, "before it is made"),
    (value_of_a_nested_block, "nothing makes it"),
    (twice, "made twice"),
    (undefined_output, "nothing makes it"),
    (blocks_in_a_plain_op, "blocks"),
    (other_result_type, "declared type"),
    (huge_dimension, "too large"),
    (huge_constant, "do not fit its type"),
    (overflowing_constant, "do not fit its type"),
    (overflowing_empty_constant, "out of bounds"),
    (rank_of_a_constant, "out of bounds"),
    (rank_that_disagrees, "disagree"),
    (unknown_rank, "unknown rank"),
    (unknown_type, "unknown element type"),
    (narrow_type, "float8e4m3fn"),
    (no_type, "no type"),
    (other_contents, "do not fit"),
    (weights_without_a_folder, "not a folder"),
    (state_as_a_result, "declared type"),
    (state_of_a_list, "a state holds a tensor|no type"),
    (program_version, "version"),
    (same_input_twice, "same name"),
]


@pytest.mark.parametrize(("spoil", "message"), SPOILED, ids=lambda x: getattr(x, "__name__", ""))
def test_spoiled_programs(spec: Any, spoil: Callable[[Any], None], message: str) -> None:
    """Each way to break the rules is named."""
    spoil(spec)
    refused(spec, message)


def test_errors_name_the_op_and_its_function(spec: Any) -> None:
    """A message about an op says which, and where."""
    undefined_value(spec)
    with pytest.raises(FormatError) as caught:
        read_program(spec.mlProgram, Weights())
    assert "linear" in str(caught.value.op)
    assert "function 'main'" in str(caught.value.location)


def test_deep_nesting(tmp_path: Path) -> None:
    """Blocks inside blocks, thousands deep, on the wire: refused before they are built."""
    data = b""
    for _ in range(5000):  # Operation.blocks = 4, Block.operations = 3
        data = b"\x22" + varint(len(data)) + data
        data = b"\x1a" + varint(len(data)) + data
    path = tmp_path / "deep.mlmodel"
    entry = b"\x12" + varint(len(data)) + data  # value of block_specializations
    function = b"\x1a" + varint(len(entry)) + entry
    entry = b"\x12" + varint(len(function)) + function
    program = b"\x12" + varint(len(entry)) + entry
    path.write_bytes(b"\xb2\x1f" + varint(len(program)) + program)
    with modest(), pytest.raises(FormatError, match="not a Core ML model"):
        load(path)


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"\xff" * 50, b"\x08\x09\xb2\x1f\xff\xff\xff\xff\x0f", b"PK\x03\x04", bytes(1000)],
    ids=lambda data: data[:6].hex() or "empty",
)
def test_files_that_are_no_models(tmp_path: Path, data: bytes) -> None:
    """Nonsense never gets as far as a program."""
    path = tmp_path / "m.mlmodel"
    path.write_bytes(data)
    with modest(), pytest.raises(GristmillError):
        _ = load(path).program


@given(data=st.data())
@settings(max_examples=150)
def test_mutated_specifications(saved: Path, data: st.DataObject) -> None:
    """Flipped, cut, spliced and repeated bytes: a program, or one of our errors, and nothing else."""
    original = (saved / MODEL).read_bytes()
    mutant = mutate(original, data)
    try:
        model = proto.parse("Model", mutant)
        read_program(model.mlProgram, load(saved)._weights)
    except GristmillError:
        pass


def mutate(original: bytes, data: st.DataObject) -> bytes:
    mutant = bytearray(original)
    positions = st.integers(0, len(original) - 1)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(positions)
        match data.draw(st.sampled_from(["flip", "set", "cut", "splice", "truncate"])):
            case "flip":
                mutant[at % len(mutant)] ^= 1 << data.draw(st.integers(0, 7))
            case "set":
                mutant[at % len(mutant)] = data.draw(st.sampled_from([0, 1, 127, 128, 255]))
            case "cut":
                del mutant[at : at + data.draw(st.integers(1, 8))]
            case "splice":
                start = data.draw(positions)
                mutant[at:at] = original[start : start + data.draw(st.integers(1, 64))]
            case "truncate":
                del mutant[max(at, 1) :]
        if not mutant:
            break
    return bytes(mutant)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are enforced on Linux")
def test_memory_and_time_of_mutated_packages(saved: Path, tmp_path: Path) -> None:
    """Hundreds of mutants of whole packages, in a process that has little memory to spare and a clock on each."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(saved), str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 50, "nearly all mutants should be refused"


WORKER = """
import random, resource, shutil, sys, time
from pathlib import Path
from gristmill.errors import GristmillError
from gristmill.package import load
saved, scratch = Path(sys.argv[1]), Path(sys.argv[2])
load(saved).program  # everything is imported
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (128 << 20),) * 2)
rng, refused = random.Random(0), 0
names = [p.relative_to(saved) for p in sorted(saved.rglob("*")) if p.is_file()]
for k in range(300):
    folder = scratch / f"{k}.mlpackage"
    shutil.copytree(saved, folder)
    path = folder / rng.choice(names)
    data = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data))
        if rng.random() < 0.2:
            del data[at:at + rng.randint(1, 50)]
        else:
            data[at] = rng.choice([0, 255, 128, rng.randrange(256)])
        if not data:
            break
    path.write_bytes(data)
    start = time.process_time()
    try:
        for function in load(folder).program.functions.values():
            for value in function.values():
                if value.constant is not None:
                    value.constant.python()
    except GristmillError:
        refused += 1
    assert time.process_time() - start < 1, path
    shutil.rmtree(folder)
print(refused)
"""


def test_many_operations_take_linear_time(tmp_path: Path) -> None:
    """Twenty thousand ops are decoded in seconds, so cost does not grow with the square of the size."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (3,))}) as (x,):
        y = x
        for _ in range(20_000):
            y = mb.relu(x=y)
        mb.output(y)
    spec = Package.from_program(program).spec
    start = time.process_time()
    again = read_program(spec.mlProgram, Weights())
    assert len(again.main.body) == 20_000
    assert time.process_time() - start < 10  # half a second on an idle machine; a square would take minutes


def test_names_that_all_collide() -> None:
    """Thousands of blocks whose arguments have one name, and as many inputs, are told apart in linear time."""
    program = Program()
    inputs = {f"x{k}": TensorType(int32) for k in range(5000)}
    with mb.function(program, "main", inputs, Opset.iOS17) as (x, *_):
        for _ in range(2000):
            with mb.nested({"i": TensorType(int32)}) as test:
                mb.output(mb.less(x=test.arguments[0], y=3))
            with mb.nested({"i": TensorType(int32)}) as body:
                mb.output(body.arguments[0])
            mb.while_loop(loop_vars=(x,), blocks=(test, body))
        mb.output(x)
    spec = Package.from_program(program).spec
    for op in spec.mlProgram.functions["main"].block_specializations["CoreML7"].operations:
        for nested in op.blocks:
            old, nested.inputs[0].name = nested.inputs[0].name, "i"
            for inner in nested.operations:
                for argument in inner.inputs.values():
                    for binding in argument.arguments:
                        binding.name = "i" if binding.name == old else binding.name
            nested.outputs[:] = ["i" if name == old else name for name in nested.outputs]
    start = time.process_time()
    again = read_program(spec.mlProgram, Weights())
    assert time.process_time() - start < 10  # a second on an idle machine; a square would take minutes
    assert len({value.name for value in again.main.values()}) == sum(1 for _ in again.main.values())
