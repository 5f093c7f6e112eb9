"""Programs in files: what is written is read again, in the same words every time."""

from __future__ import annotations

import gc
import hashlib
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings

from gristmill.errors import FormatError, GristmillError, InputError, IRError, MissingFileError, UnsupportedError
from gristmill.ir import dims, types
from gristmill.ir.builder import mb
from gristmill.ir.builtin import const
from gristmill.ir.constants import Constant, LazyData, constant, same_constant
from gristmill.ir.opset import Opset
from gristmill.ir.printer import inline_constant
from gristmill.ir.program import Block, Function, Location, Program
from gristmill.ir.types import DictType, StateType, TensorType, fp16, fp32, int32
from gristmill.ir.verify import verify
from gristmill.package import Package, load, notes, proto
from gristmill.package.files import Tree
from gristmill.package.mil_reader import read_program
from gristmill.package.mil_values import Weights
from gristmill.package.mil_writer import WEIGHT_FILE, write_program
from tests.ir.programs import programs


def classifier(rows: int = 40) -> Program:
    """A matrix product with a large weight, a small bias, flexible batch, and a repeated weight."""
    program = Program(attributes={"buildInfo": constant({"tool": "test"})})
    weight = np.arange(rows * 3, dtype=np.float32).reshape(3, rows) / 7
    batch = dims.symbol("batch", 1, 16)
    with mb.function(program, "main", {"x": TensorType(fp32, (batch, rows))}, Opset.iOS17) as (x,):
        first = mb.const(weight, name="weight")
        second = mb.const(weight.copy(), name="weight_again")
        bias = mb.const(np.zeros(3, np.float32), name="bias")
        y = mb.linear(x=x, weight=first, bias=bias, name="y")
        z = mb.linear(x=x, weight=second, name="z")
        mb.output(y, z)
    return program


def stateful() -> Program:
    program = Program()
    inputs = {"x": TensorType(fp16, (2, 3)), "memory": StateType(TensorType(fp16, (2, 3)))}
    with mb.function(program, "main", inputs, Opset.iOS18) as (x, memory):
        before = mb.read_state(input=memory, name="before")
        mb.coreml_update_state(state=memory, value=mb.add(x=before, y=x, name="sum"), name="after")
        mb.coreml_update_state(state=memory, value=x, name="unused")
        mb.output(mb.relu(x=before, name="y"))
    return program


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def reread(package: Package, tmp_path: Path) -> Package:
    return load(package.save(tmp_path / "m.mlpackage"))


# --- round trips -----------------------------------------------------------------------------------------------------


def test_program_round_trip(tmp_path: Path) -> None:
    """Ops, names, types with their symbols, constants and attributes come back from the files."""
    program = classifier()
    again = reread(Package.from_program(program), tmp_path).program
    verify(again)
    weight = next(op for op in again.main.body if op.name == "weight").result.constant
    assert weight is not None
    np.testing.assert_array_equal(weight.numpy(), np.arange(120, dtype=np.float32).reshape(3, 40) / 7)
    assert [(v.name, v.type) for v in again.main.values()] == [(v.name, v.type) for v in program.main.values()]
    assert again.main.inputs[0].shape[0] == dims.symbol("batch", 1, 16)
    assert again.attributes["buildInfo"].python() == {"tool": "test"}


def test_files_are_deterministic(tmp_path: Path) -> None:
    """The same model gives the same bytes, identifiers included, in whichever process state; another model others."""
    one = files_of(Package.from_program(classifier()).save(tmp_path / "one.mlpackage"))
    dims.unknown()  # names of unknown dimensions are counted per process; none may get into a file
    two = files_of(Package.from_program(classifier()).save(tmp_path / "two.mlpackage"))
    other = files_of(Package.from_program(classifier(rows=50)).save(tmp_path / "other.mlpackage"))
    assert one == two
    assert one["Manifest.json"] != other["Manifest.json"]
    again = load(tmp_path / "one.mlpackage")
    three = files_of(again.with_program(again.program).save(tmp_path / "three.mlpackage"))
    assert one == three


def test_large_constants_lie_in_the_weight_file(tmp_path: Path) -> None:
    """From ten elements on a constant is a blob; equal ones are stored once; small ones stand in the program."""
    package = Package.from_program(classifier())
    folder = package.save(tmp_path / "m.mlpackage")
    ops = package.spec.mlProgram.functions["main"].block_specializations["CoreML7"].operations
    values = {op.attributes["name"].immediateValue.tensor.strings.values[0]: op.attributes["val"] for op in ops}
    assert values["weight"].blobFileValue.fileName == "@model_path/weights/weight.bin"
    assert values["weight"].blobFileValue.offset == values["weight_again"].blobFileValue.offset == 64
    assert values["bias"].immediateValue.tensor.floats.values == [0, 0, 0]
    assert (folder / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size == 128 + 3 * 40 * 4


@pytest.mark.parametrize(
    ("dtype", "opset", "in_file"),
    [
        ("fp16", Opset.iOS15, True),
        ("int8", Opset.iOS15, True),
        ("int32", Opset.iOS17, False),
        ("int32", Opset.iOS18, True),
        ("uint16", Opset.iOS17, False),
        ("int4", Opset.iOS18, True),
        ("uint3", Opset.iOS18, True),
        ("bool", Opset.iOS18, False),
    ],
)
def test_what_may_be_a_blob(tmp_path: Path, dtype: str, opset: Opset, in_file: bool) -> None:
    """Core ML reads only four element types from weight files before iOS 18; all of them come back either way."""
    chosen = types.DTYPES[dtype]
    contents = (np.arange(30) % 2).astype(chosen.numpy)
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (3,))}, opset) as (x,):
        mb.const(contents, name="c", dtype=chosen)
        mb.output(mb.relu(x=x, name="y"))
    package = reread(Package.from_program(program), tmp_path)
    assert (package.path / "Data/com.apple.CoreML/weights/weight.bin").exists() == in_file  # type: ignore[operator]
    found = next(iter(package.program.main.body)).result
    assert found.dtype == chosen
    assert found.constant is not None
    np.testing.assert_array_equal(found.constant.numpy(), contents)


def test_without_large_constants_there_is_no_weight_file(tmp_path: Path) -> None:
    """Neither the file nor its entry in the manifest."""
    folder = Package.from_program(stateful()).save(tmp_path / "m.mlpackage")
    assert sorted(files_of(folder)) == ["Data/com.apple.CoreML/model.mlmodel", "Manifest.json"]
    assert "weights" not in (folder / "Manifest.json").read_text()


def test_state_updates_are_written_as_the_format_has_them(tmp_path: Path) -> None:
    """An update is a write, followed by a read if something uses what it gives."""
    package = reread(Package.from_program(stateful()), tmp_path)
    body = [op.op_name for op in package.program.main.body]
    assert body == ["read_state", "add", "write_state", "write_state", "relu"]
    program = stateful()
    update = next(op for op in program.main.body if op.name == "after")
    program.main.body.set_output(0, update.result)
    package = reread(Package.from_program(program), tmp_path)
    assert [op.op_name for op in package.program.main.body][:4] == ["read_state", "add", "write_state", "read_state"]
    assert package.program.main.outputs[0].name == "after"
    assert [s.name for s in package.description.state] == ["memory"]
    assert [i.name for i in package.description.input] == ["x"]


def test_locations_travel(tmp_path: Path) -> None:
    """Where an op comes from is read again, and costs nothing in the program itself."""
    program = Program()
    place = Location("encoder.layer.0", "model.py", 17, "aten.relu")
    with mb.function(program, "main", {"x": TensorType(fp32, (3,))}) as (x,):
        with mb.located(place):
            y = mb.relu(x=x, name="y")
        mb.output(mb.exp(x=y, name="z"))
    package = reread(Package.from_program(program), tmp_path)
    assert [op.location for op in package.program.main.body] == [place, None]
    ops = package.spec.mlProgram.functions["main"].block_specializations["CoreML5"].operations
    assert [list(op.attributes) for op in ops] == [["name"], ["name"]]  # coremltools accepts no other attribute


@pytest.mark.parametrize(
    ("file", "kept"),
    [
        (np.linalg.__file__, "numpy/linalg/__init__.py"),  # below a folder that Python imports from
        (str(Path("models/net.py").absolute()), "models/net.py"),  # below the working folder
        ("/nowhere/secret/net.py", "net.py"),
    ],
)
def test_files_tell_nothing_of_the_computer(tmp_path: Path, file: str, kept: str) -> None:
    """A saved model has no absolute path in it, so it is the same wherever it is made."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (3,))}) as (x,), mb.located(Location(file=file, line=1)):
        mb.output(mb.relu(x=x, name="y"))
    (op,) = reread(Package.from_program(program), tmp_path).program.main.body
    assert op.location == Location(file=kept, line=1)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"places": 3}', '{"places": [[1]], "ops": {"main": {"y": 0}}}', '{"main": {"x": ["n{"]}}',
     '{"main": {"x": ["7"]}}', '{"main": {"x": ["n", "n"]}}', '{"main": {"x": ["unknown0"]}}', "[" * 9999],
)  # fmt: skip
def test_notes_that_do_not_fit_are_ignored(tmp_path: Path, text: str) -> None:
    """Another tool may have changed the program and left our notes: they never make a model unreadable."""
    package = Package.from_program(classifier())
    package.spec.description.metadata.userDefined[notes.DIMS] = text
    package.spec.description.metadata.userDefined[notes.LOCATIONS] = text
    again = reread(package, tmp_path).program
    shape = again.main.inputs[0].shape
    assert dims.bounds(shape[0]) == (1, 16)  # from the description
    assert shape[1] == 40


def test_several_functions(tmp_path: Path) -> None:
    """Each function is described; the default one comes first; each has its own opset and symbols."""
    program = Program()
    for name in ("zeta", "main", "alpha"):
        with mb.function(program, name, {"x": TensorType(fp32, (dims.symbol("n", 1, 4), 3))}, Opset.iOS18) as (x,):
            mb.output(mb.relu(x=x, name=f"y_{name}"))
    package = reread(Package.from_program(program), tmp_path)
    assert list(package.program.functions) == ["main", "alpha", "zeta"]
    assert {f.name: f.output[0].name for f in package.description.functions} == {
        "main": "y_main",
        "alpha": "y_alpha",
        "zeta": "y_zeta",
    }
    assert package.description.defaultFunctionName == "main"
    assert package.spec.specificationVersion == 9


def test_nested_blocks_that_reuse_names(tmp_path: Path) -> None:
    """Blocks beside each other may use the same names in files; here they become different, outer ones stay."""
    program = Program()
    variable = {"i": TensorType(int32)}
    with mb.function(program, "main", {"x": TensorType(int32)}, Opset.iOS17) as (x,):
        with mb.nested(variable) as test:
            mb.output(mb.less(x=test.arguments[0], y=3, name="t"))
        with mb.nested(variable) as body:
            mb.output(mb.add(x=body.arguments[0], y=1, name="u"))
        mb.output(mb.while_loop(loop_vars=(x,), blocks=(test, body), name="y"))
    spec = Package.from_program(program).spec
    loop = spec.mlProgram.functions["main"].block_specializations["CoreML7"].operations[-1]
    for block in loop.blocks:  # as coremltools writes them
        old, block.inputs[0].name = block.inputs[0].name, "i"
        for op in block.operations:
            for argument in op.inputs.values():
                if argument.arguments[0].name == old:
                    argument.arguments[0].name = "i"
    again = Package.from_spec(spec).program
    verify(again)
    assert again.main.outputs[0].name == "y"
    loop_op = again.main.outputs[0].producer
    assert loop_op is not None
    assert [block.arguments[0].name for block in loop_op.blocks] == ["i", "i_0"]


def test_equal_small_constants_are_decoded_once(tmp_path: Path) -> None:
    """What programs say over and over is one object, which nobody can write to; large constants are their own."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (2, 3))}) as (x,):
        first = mb.transpose(x=x, perm=[1, 0], name="first")
        second = mb.transpose(x=mb.add(x=first, y=np.ones((3, 2), np.float32)), perm=[1, 0], name="second")
        mb.output(mb.transpose(x=second, perm=[0, 1], name="third"))
    main = reread(Package.from_program(program), tmp_path).program.main
    one, two, other = (op.operand("perm").constant for op in main.body if op.op_name == "transpose")
    assert one is two
    assert one is not other
    assert (one.parameter, other.parameter) == ((1, 0), (0, 1))
    with pytest.raises(ValueError, match="read-only"):
        one.numpy()[0] = 0


@pytest.mark.parametrize("collects", [True, False])
def test_decoding_leaves_the_garbage_collector_as_it_was(saved: Path, collects: bool) -> None:
    """Also when it fails."""
    good, bad = load(saved), load(saved)
    bad.spec.mlProgram.functions["main"].block_specializations["CoreML7"].operations[1].type = "no_such_op"
    before = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        assert good.program.main.outputs
        assert gc.isenabled() == collects
        with pytest.raises(UnsupportedError, match="unknown op"):
            _ = bad.program
        assert gc.isenabled() == collects
    finally:
        (gc.enable if before else gc.disable)()


def test_lazy_constants_are_evaluated_when_written(tmp_path: Path) -> None:
    """A constant's function is called for writing, not before, and what it gives is not kept."""
    calls = []

    def produce() -> np.ndarray[Any, Any]:
        calls.append(1)
        return np.ones((4, 8), np.float32)

    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (4, 8))}) as (x,):
        mb.output(mb.add(x=x, y=mb.const(LazyData(fp32, (4, 8), produce)), name="y"))
    package = Package.from_program(program)
    assert not calls
    package.save(tmp_path / "m.mlpackage")
    assert len(calls) == 1


def test_saving_takes_one_constant_at_a_time(tmp_path: Path) -> None:
    """Twenty constants of a megabyte each are written, read and written again within a few megabytes."""
    size = 1 << 18
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (size,))}) as (x,):
        for k in range(20):
            x = mb.add(x=x, y=mb.const(LazyData(fp32, (size,), lambda k=k: np.full(size, k, np.float32))))  # type: ignore[misc]
        mb.output(x)
    package = Package.from_program(program)
    tracemalloc.start()
    try:
        loaded = load(package.save(tmp_path / "one.mlpackage"))
        loaded.with_program(loaded.program).save(tmp_path / "two.mlpackage")
        assert tracemalloc.get_traced_memory()[1] < 4 * 4 * size
    finally:
        tracemalloc.stop()
    assert files_of(tmp_path / "one.mlpackage") == files_of(tmp_path / "two.mlpackage")


@given(program=programs())
@settings(max_examples=100)
def test_any_program_round_trips(tmp_path_factory: pytest.TempPathFactory, program: Program) -> None:
    """Ops, operands, types, constants, attributes and blocks come back; writing them again gives the same bytes."""
    folder = tmp_path_factory.mktemp("program")
    (folder / "weights").mkdir()
    with (folder / WEIGHT_FILE).open("w+b") as file:
        try:
            spec, digest = write_program(program, file)
        except GristmillError:
            assume(False)  # it has blobs that cannot be read, or texts that no file can hold
    spec = proto.parse("MILSpec.Program", proto.serialize(spec))
    again = read_program(spec, Weights(Tree(folder)))
    verify(again)
    assert {f: constants_of(again.functions[f]) for f in again.functions} == {
        f: constants_of(program.functions[f]) for f in program.functions
    }
    for name, function in program.functions.items():
        assert_same_block(again.functions[name].body, function.body)
    second, second_digest = write_program(again, None)
    assert (proto.serialize(second), second_digest) == (proto.serialize(spec), digest)


def constants_of(function: Function) -> list[str]:
    return sorted([*function.attributes, *function.body.attributes])


def assert_same_block(ours: Block, theirs: Block) -> None:
    """Same ops in the same order, taking and making values of the same names; constants of the same bits."""
    assert_same_attributes(ours.attributes, theirs.attributes)
    shown = [[op for op in block if not is_inline(op)] for block in (ours, theirs)]
    for op, other in zip(*shown, strict=True):
        assert (type(op), op.name) == (type(other), other.name)
        assert [v.name for v in op.results] == [v.name for v in other.results]
        assert all(types.compatible(v.type, w.type) for v, w in zip(op.results, other.results, strict=True))
        assert_same_attributes(op.attributes, other.attributes)
        for (slot, _, value), (other_slot, _, other_value) in zip(op.uses(), other.uses(), strict=True):
            assert slot == other_slot
            if is_inline(other_value.producer):
                assert same_constant(value.constant, other_value.constant)
            else:
                assert value.name == other_value.name
        for block, other_block in zip(op.blocks, other.blocks, strict=True):
            assert_same_block(block, other_block)
    assert [v.name for v in ours.outputs] == [v.name for v in theirs.outputs]


def assert_same_attributes(ours: dict[str, Constant], theirs: dict[str, Constant]) -> None:
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert_same_constant(ours[key], value)


def assert_same_constant(ours: Constant, theirs: Constant) -> None:
    """By contents: a literal that may grow comes back as one that has the length it has."""
    if isinstance(theirs.type, TensorType):
        assert same_constant(ours, theirs)
        return
    flat = [list(c.payload) for c in (ours, theirs)]
    if isinstance(theirs.type, DictType):
        flat = [[part for pair in pairs for part in pair] for pairs in flat]
    for one, other in zip(*flat, strict=True):
        assert_same_constant(one, other)


def is_inline(op: Any) -> bool:
    return isinstance(op, const) and inline_constant(op.result) is not None


# --- saving what was loaded ------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return Package.from_program(classifier()).save(tmp_path / "saved.mlpackage")


def test_an_untouched_model_keeps_its_bytes(saved: Path, tmp_path: Path) -> None:
    """Even where they are not what we would write: unknown fields, other files, another order."""
    model = saved / "Data/com.apple.CoreML/model.mlmodel"
    unknown_field = b"\xfa\x3f\x03abc"  # field 1023, three bytes
    model.write_bytes(unknown_field + model.read_bytes())
    (saved / "Data/com.apple.CoreML/notes").mkdir()
    (saved / "Data/com.apple.CoreML/notes/extra.txt").write_text("kept")
    package = load(saved)
    assert package.program.main.outputs  # looking does not count as touching
    assert len(package.spec.description.input) == 1
    assert files_of(package.save(tmp_path / "copy.mlpackage")) == files_of(saved)


def test_a_changed_description_leaves_weights_and_unknown_fields(saved: Path, tmp_path: Path) -> None:
    """Editing metadata rewrites the specification alone, and what it holds that is unknown here survives."""
    model = saved / "Data/com.apple.CoreML/model.mlmodel"
    model.write_bytes(b"\xfa\x3f\x03abc" + model.read_bytes())
    package = load(saved)
    package.description.metadata.author = "somebody"
    copy = files_of(package.save(tmp_path / "copy.mlpackage"))
    original = files_of(saved)
    changed = [name for name in original if original[name] != copy[name]]
    assert changed == ["Data/com.apple.CoreML/model.mlmodel"]
    assert b"\xfa\x3f\x03abc" in copy[changed[0]]
    assert load(tmp_path / "copy.mlpackage").description.metadata.author == "somebody"


def test_saving_over_itself(saved: Path) -> None:
    """A model may replace its own files; what was loaded stays readable throughout."""
    before = files_of(saved)
    package = load(saved)
    package.save(saved)
    assert files_of(saved) == before
    package.with_program(package.program).save(saved)
    assert files_of(saved) == before
    assert not list(saved.parent.glob(".saved*"))


def test_weights_are_those_that_were_loaded(saved: Path) -> None:
    """A model loaded earlier reads its own weights after another model took its place."""
    package = load(saved)
    other = Program()
    with mb.function(other, "main", {"x": TensorType(fp32, (40,))}) as (x,):
        mb.output(mb.add(x=x, y=mb.const(np.full(40, 9, np.float32)), name="y"))
    Package.from_program(other).save(saved)
    weight = next(op for op in package.program.main.body if op.name == "weight").result.constant
    assert weight is not None
    assert weight.numpy()[0, 1] == np.float32(1 / 7)


def test_weights_are_read_when_asked_for(saved: Path) -> None:
    """Decoding a program does not read its weights: they may even be corrupted after their metadata."""
    path = saved / "Data/com.apple.CoreML/weights/weight.bin"
    data = bytearray(path.read_bytes())
    data[128:] = bytes(len(data) - 128)
    path.write_bytes(data)
    package = load(saved)
    weight = next(op for op in package.program.main.body if op.name == "weight").result.constant
    assert weight is not None
    assert not weight.numpy().any()
    assert not weight.numpy().flags.writeable


def test_bare_models(tmp_path: Path) -> None:
    """Models other than programs live in one file, or in a package, and move between the two."""
    spec = proto.message("Model")(specificationVersion=4)
    spec.neuralNetwork.layers.add(name="double", input=["x"], output=["y"]).activation.linear.alpha = 2
    spec.description.input.add(name="x").type.multiArrayType.shape.append(3)
    path = Package.from_spec(spec).save(tmp_path / "m.mlmodel")
    digest = hashlib.sha256(path.read_bytes()).digest()
    package = load(path)
    assert package.kind == "neuralNetwork"
    folder = package.save(tmp_path / "m.mlpackage")
    back = load(folder).save(tmp_path / "back.mlmodel")
    assert hashlib.sha256(back.read_bytes()).digest() == digest
    with pytest.raises(UnsupportedError, match="no ML Program"):
        _ = package.program


def test_a_specification_with_its_weights(saved: Path, tmp_path: Path) -> None:
    """A specification and a weight folder make a model, as with coremltools."""
    spec = load(saved).spec
    package = Package.from_spec(spec, saved / "Data/com.apple.CoreML/weights")
    weight = next(op for op in package.program.main.body if op.name == "weight").result.constant
    assert weight is not None
    assert weight.numpy().shape == (3, 40)
    again = load(package.save(tmp_path / "again.mlpackage"))
    np.testing.assert_array_equal(next(iter(again.program.main.body)).result.constant.numpy(), weight.numpy())  # type: ignore[union-attr]


def test_where_a_model_may_be_saved(saved: Path, tmp_path: Path) -> None:
    """A program needs a package; other suffixes are refused with what is allowed."""
    package = load(saved)
    for name in ("m.mlmodel", "m.onnx"):
        with pytest.raises(InputError, match="cannot be saved there"):
            package.save(tmp_path / name)
    (tmp_path / "file.mlpackage").write_text("not a folder")
    with pytest.raises(InputError, match="a file is there"):
        package.save(tmp_path / "file.mlpackage")
    with pytest.raises(FileNotFoundError) as caught:
        load(tmp_path / "nothing.mlpackage")
    assert isinstance(caught.value, MissingFileError)


def test_types_that_applications_cannot_hand_over() -> None:
    """A bool input has no type in a model's description; the error says what to do."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(types.bool_, (3,))}) as (x,):
        mb.output(mb.logical_not(x=x, name="y"))
    with pytest.raises(UnsupportedError, match="hand over") as caught:
        Package.from_program(program)
    assert "'x'" in str(caught.value)


def test_untyped_tensors_cannot_be_written() -> None:
    """Types are decided before a program is written."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(types.unit_float, (3,))}) as (x,):
        mb.output(mb.relu(x=x, name="y"))
    with pytest.raises(IRError, match="untyped"):
        write_program(program, None)


def test_unknown_fields_in_code_refuse_execution(saved: Path, tmp_path: Path) -> None:
    """The model still loads, shows its description, and saves its own bytes; only its program is refused."""
    package = load(saved)
    function = package.spec.mlProgram.functions["main"]
    op = function.block_specializations["CoreML7"].operations[1]
    op.MergeFromString(b"\xfa\x3f\x03abc")
    strange = package.save(tmp_path / "strange.mlpackage")
    again = load(strange)
    assert [i.name for i in again.description.input] == ["x"]
    with pytest.raises(UnsupportedError, match="unknown here") as caught:
        _ = again.program
    assert "field 1023" in str(caught.value.location)
    assert "operations[1]" in str(caught.value.location)
    assert files_of(again.save(tmp_path / "copy.mlpackage")) == files_of(strange)


def test_a_zip_archive_is_not_a_model(tmp_path: Path) -> None:
    """Archives are not unpacked here, so their paths can do no harm."""
    path = tmp_path / "m.mlpackage"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(FormatError, match="zip archive"):
        load(path)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n"


@pytest.mark.parametrize("file", ["Manifest.json", "model.mlmodel", "weight.bin"])
def test_pointers_of_git_lfs(tmp_path: Path, file: str) -> None:
    """A checkout without ``git lfs pull`` is told apart from a broken model, whichever file it left out."""
    path = Package.from_program(classifier()).save(tmp_path / "model.mlpackage")
    next(path.rglob(file)).write_bytes(POINTER)
    with pytest.raises(FormatError, match="pointer of Git LFS") as caught:
        load(path)
    assert caught.value.hint == "git lfs pull"


def test_empty_file(tmp_path: Path) -> None:
    """Nothing at all is no specification either, though protobuf reads one from it."""
    (tmp_path / "model.mlmodel").touch()
    with pytest.raises(FormatError, match="the file is empty"):
        load(tmp_path / "model.mlmodel")


def test_a_path_without_ending(tmp_path: Path) -> None:
    """It gets the one that suits the model, as with coremltools."""
    assert Package.from_program(classifier()).save(tmp_path / "model") == tmp_path / "model.mlpackage"
    network = proto.message("Model")(specificationVersion=1)
    network.neuralNetwork.SetInParent()
    assert Package.from_spec(network).save(tmp_path / "model") == tmp_path / "model.mlmodel"
