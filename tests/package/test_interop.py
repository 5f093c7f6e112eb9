"""coremltools and this package read each other's files, and infer the same types."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gristmill.ir import dims, types
from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import ListType, StateType, TensorType, Type, fp16, fp32, int32
from gristmill.ir.verify import verify
from gristmill.package import Package, load, proto

# coremltools warns of missing Mac libraries and of newer frameworks, and leaves temporary folders to the collector.
pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore")]

rng = np.random.default_rng(0)


@pytest.fixture
def ct() -> Iterator[Any]:
    yield pytest.importorskip("coremltools", reason="coremltools, the oracle, is not installed")
    gc.collect()  # while warnings of what it leaves behind are still ignored


# --- types, spelled alike on both sides ------------------------------------------------------------------------------


def our_type(type: Type) -> object:
    match type:
        case TensorType():
            return type.dtype.name, tuple(d if isinstance(d, int) else "?" for d in type.shape)
        case ListType():
            return "list", our_type(type.element)
        case StateType():
            return "state", our_type(type.wrapped)
        case types.DictType():
            return "dict", our_type(type.key), our_type(type.value)
    raise AssertionError(type)


def their_type(type: Any) -> object:
    from coremltools.converters.mil.mil import types as t

    if t.is_tensor(type):
        shape = tuple("?" if t.symbolic.is_symbolic(d) else int(d) for d in type.get_shape())
        return t.builtin_to_string(type.get_primitive()), shape
    if t.is_list(type):
        return "list", their_type(type.T[0])
    if t.is_state(type):
        return "state", their_type(type.wrapped_type())
    if t.is_dict(type):
        return "dict", their_type(type.T[0]), their_type(type.T[1])
    return {"str": "string"}.get(t.builtin_to_string(type), t.builtin_to_string(type)), ()


def their_types(block: Any) -> dict[str, object]:
    inputs = block.inputs.values() if isinstance(block.inputs, dict) else block.inputs
    found = {value.name: their_type(value.sym_type) for value in inputs}
    for op in block.operations:
        if op.op_type != "const":
            found.update((value.name, their_type(value.sym_type)) for value in op.outputs)
        for nested in op.blocks:
            found.update(their_types(nested))
    return found


def assert_same_types(ct: Any, folder: Path) -> None:
    """Loads a package on both sides and compares the types of all values that have the same name."""
    from coremltools.converters.mil.frontend.milproto.load import load as load_program

    theirs = ct.models.MLModel(str(folder), skip_model_load=True)
    spec = theirs.get_spec()
    their_program = load_program(spec, spec.specificationVersion, theirs.weights_dir or "")
    ours = load(folder).program
    verify(ours)
    compared = 0
    for name, function in ours.functions.items():
        expected = their_types(their_program.functions[name])
        for value in function.values():
            if value.name in expected:
                assert our_type(value.type) == expected[value.name], value
                compared += 1
    assert compared > 1


# --- theirs, here ----------------------------------------------------------------------------------------------------


def dense(ct: Any, mb: Any) -> Any:
    @mb.program(input_specs=[mb.TensorSpec((2, 20))], opset_version=ct.target.iOS16)
    def program(x: Any) -> Any:
        y = mb.linear(x=x, weight=rng.random((5, 20), np.float32), bias=np.zeros(5, np.float32))
        y = mb.relu(x=y)
        parts = mb.split(x=y, split_sizes=[2, 3], axis=1)
        return mb.concat(values=[parts[1], parts[0]], axis=1, name="out")

    return program


def loop(ct: Any, mb: Any) -> Any:
    @mb.program(input_specs=[mb.TensorSpec((3,))], opset_version=ct.target.iOS15)
    def program(x: Any) -> Any:
        def step(i: Any, v: Any) -> Any:
            return mb.add(x=i, y=1.0), mb.mul(x=v, y=x)

        total = mb.reduce_sum(x=x)
        _, y = mb.while_loop(_cond=lambda i, v: mb.less(x=i, y=4.0), _body=step, loop_vars=(0.0, x))
        return mb.cond(
            pred=mb.greater(x=total, y=0.0), _true_fn=lambda: mb.relu(x=y), _false_fn=lambda: mb.exp(x=y), name="out"
        )

    return program


def lists(ct: Any, mb: Any) -> Any:
    @mb.program(input_specs=[mb.TensorSpec((4, 2))], opset_version=ct.target.iOS15)
    def program(x: Any) -> Any:
        made = mb.make_list(init_length=1, dynamic_length=True, elem_shape=(2,))
        made = mb.list_write(
            ls=made, index=0, value=mb.squeeze(x=mb.slice_by_size(x=x, begin=[1, 0], size=[1, 2]), axes=[0])
        )
        return mb.list_gather(ls=made, indices=[0], name="out")

    return program


def unknown_sizes(ct: Any, mb: Any) -> Any:
    n, m = (ct.converters.mil.mil.program.get_new_symbol() for _ in range(2))

    @mb.program(input_specs=[mb.TensorSpec((1, n, m))], opset_version=ct.target.iOS17)
    def program(x: Any) -> Any:
        y = mb.transpose(x=x, perm=[0, 2, 1])
        shape = mb.shape(x=y)
        return mb.reshape(
            x=mb.matmul(x=y, y=x), shape=mb.concat(values=[mb.gather(x=shape, indices=[1]), [-1]], axis=0), name="out"
        )

    return program


def stateful(ct: Any, mb: Any) -> Any:
    specs = [
        mb.TensorSpec((2, 3), dtype=ct.converters.mil.mil.types.fp16),
        mb.StateTensorSpec((2, 3), dtype=ct.converters.mil.mil.types.fp16),
    ]

    @mb.program(input_specs=specs, opset_version=ct.target.iOS18)
    def program(x: Any, memory: Any) -> Any:
        value = mb.add(x=mb.read_state(input=memory), y=x)
        return mb.relu(x=mb.coreml_update_state(state=memory, value=value), name="out")

    return program


def compressed(ct: Any, mb: Any) -> Any:
    @mb.program(input_specs=[mb.TensorSpec((2, 16))], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        nybble = ct.converters.mil.mil.types.np_uint4_dtype
        indices = rng.integers(0, 16, (8, 16)).astype(nybble)
        table = rng.random((1, 1, 16, 1), np.float32)
        looked_up = mb.constexpr_lut_to_dense(indices=indices, lut=table)
        scaled = mb.constexpr_blockwise_shift_scale(
            data=rng.integers(-127, 127, (8, 8)).astype(np.int8), scale=np.full((8, 1), 0.5, np.float32)
        )
        return mb.linear(x=mb.linear(x=x, weight=looked_up), weight=scaled, name="out")

    return program


def older_compressed(ct: Any, mb: Any) -> Any:
    @mb.program(input_specs=[mb.TensorSpec((2, 16))], opset_version=ct.target.iOS16)
    def program(x: Any) -> Any:
        weight = mb.constexpr_affine_dequantize(
            quantized_data=rng.integers(0, 255, (4, 16)).astype(np.uint8),
            zero_point=np.uint8(3),
            scale=np.float32(0.1),
            axis=0,
        )
        return mb.linear(x=x, weight=weight, name="out")

    return program


THEIRS = [dense, loop, lists, unknown_sizes, stateful, compressed, older_compressed]


def convert(ct: Any, make: Callable[[Any, Any], Any], folder: Path) -> Path:
    program = make(ct, ct.converters.mil.Builder)
    target = program.functions["main"].opset_version
    model = ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=target,
        compute_precision=ct.precision.FLOAT32,
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
    )
    model.save(str(folder / "theirs.mlpackage"))
    return folder / "theirs.mlpackage"


@pytest.mark.parametrize("make", THEIRS, ids=lambda make: make.__name__)
def test_their_models(ct: Any, tmp_path: Path, make: Callable[[Any, Any], Any]) -> None:
    """What coremltools writes loads here with the same types, and what is made of it again is the same program."""
    folder = convert(ct, make, tmp_path)
    assert_same_types(ct, folder)
    package = load(folder)
    again = package.with_program(package.program)
    assert_same_types(ct, again.save(tmp_path / "again.mlpackage"))
    if make is not loop:  # its blocks use a name twice, which one of the two then loses
        assert proto.serialize(again.spec.mlProgram) == proto.serialize(package.spec.mlProgram)
        assert weight_file(tmp_path / "again.mlpackage") == weight_file(folder)


def weight_file(folder: Path) -> bytes | None:
    path = folder / "Data/com.apple.CoreML/weights/weight.bin"
    return path.read_bytes() if path.exists() else None


# --- ours, there -----------------------------------------------------------------------------------------------------


def ours_dense() -> Program:
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp16, (dims.symbol("n", 1, 8), 20))}, Opset.iOS17) as (x,):
        y = mb.linear(x=x, weight=np.ones((5, 20), np.float16), bias=np.zeros(5, np.float16))
        a, b = mb.split(x=y, split_sizes=[2, 3], axis=1)
        mb.output(mb.concat(values=[b, a], axis=1, interleave=False, name="out"))
    return program


def ours_nested() -> Program:
    program = Program()
    variables = {"i": TensorType(int32), "v": TensorType(fp32, (3,))}
    with mb.function(program, "main", {"x": TensorType(fp32, (3,))}, Opset.iOS15) as (x,):
        with mb.nested(variables) as test:
            mb.output(mb.less(x=test.arguments[0], y=4))
        with mb.nested(variables) as body:
            mb.output(mb.add(x=body.arguments[0], y=1), mb.mul(x=body.arguments[1], y=x))
        _, y = mb.while_loop(loop_vars=(mb.const(0), x), blocks=(test, body))
        with mb.nested() as yes:
            mb.output(mb.relu(x=y))
        with mb.nested() as no:
            mb.output(mb.exp(x=y))
        mb.output(mb.cond(pred=mb.less(x=mb.reduce_sum(x=y, keep_dims=False), y=0.0), blocks=(yes, no), name="out"))
    return program


def ours_stateful() -> Program:
    program = Program()
    inputs = {"x": TensorType(fp16, (2, 3)), "memory": StateType(TensorType(fp16, (2, 3)))}
    with mb.function(program, "main", inputs, Opset.iOS18) as (x, memory):
        value = mb.add(x=mb.read_state(input=memory), y=x)
        mb.output(mb.coreml_update_state(state=memory, value=value, name="out"))
    return program


def ours_functions() -> Program:
    program = Program()
    for name in ("main", "other"):
        with mb.function(program, name, {"x": TensorType(fp32, (3,))}, Opset.iOS18) as (x,):
            mb.output(mb.add(x=mb.relu(x=x), y=np.ones(3, np.float32), name="out"))
    return program


def ours_compressed() -> Program:
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (2, 16))}, Opset.iOS18) as (x,):
        indices = mb.const(np.zeros((8, 16), np.uint8), dtype=types.uint4)
        looked_up = mb.constexpr_lut_to_dense(indices=indices, lut=np.ones((1, 1, 16, 1), np.float32))
        mb.output(mb.linear(x=x, weight=looked_up, name="out"))
    return program


OURS = [ours_dense, ours_nested, ours_stateful, ours_functions, ours_compressed]


@pytest.mark.parametrize("make", OURS, ids=lambda make: make.__name__)
def test_our_models(ct: Any, tmp_path: Path, make: Callable[[], Program]) -> None:
    """What is written here opens in coremltools, passes its program loader, and gets the same types there."""
    assert_same_types(ct, Package.from_program(make()).save(tmp_path / "ours.mlpackage"))


def test_description_as_coremltools_writes_it(ct: Any, tmp_path: Path) -> None:
    """The description that follows from the program's types is the one that coremltools makes of the same program."""
    folder = convert(ct, dense, tmp_path)
    package = load(folder)
    made = package.from_program(package.program)
    made.description.metadata.CopyFrom(package.description.metadata)
    assert made.description == package.description
