"""Programs become networks that do the same: each is written, read again, and run beside the program itself."""

from __future__ import annotations

import base64
import collections
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

import gristmill as ct
from gristmill.devices.reference import ReferenceDevice
from gristmill.errors import UnsupportedError
from gristmill.ir import dims, registry
from gristmill.ir.builder import mb
from gristmill.ir.clone import clone_program
from gristmill.ir.opset import Opset, iOS13, iOS15
from gristmill.ir.program import Program
from gristmill.ir.traits import Random
from gristmill.ir.types import ListType, TensorType, bool_, fp32, int32
from gristmill.models import networks
from gristmill.package import Package, proto
from gristmill.package.network_writer import NetworkRefusedError, write_network
from gristmill.passes.infra import run_passes
from gristmill.passes.pipeline import default_passes
from gristmill.runtime.session import Session
from tests.frontends.neuralnetwork.small import L, model_of, numbers
from tests.frontends.neuralnetwork.test_layers import CASES as LAYERS
from tests.frontends.neuralnetwork.test_layers import Case as LayerCase
from tests.op_cases.case import Case
from tests.test_op_cases import CASES, TESTED_ELSEWHERE

INTEGERS = 1 << 24
"""A network's numbers are float32, so integers are exact up to here."""

NOT_HELD: dict[str, str] = {
    "affine": "no layer samples an image on a grid",
    "cast": "no layer wraps integers modulo 2^8 or 2^16",
    "conv_quantized": "no layer takes quantised weights that are operands",
    "crop_resize": "the layer has no grid UNALIGN_CORNERS, and no filling but 0",
    "dequantize": "no layer",
    "einsum": "no layer takes three operands or diagonals",
    "gather": "indices in batches",
    "gather_nd": "indices in batches",
    "gru": "the layer applies the reset gate before the product",
    "quantize": "no layer",
    "range_1d": "integers beyond 2^24",
    "resample": "no layer samples an image on a grid",
    "resize": "no layer takes the size as an operand",
    "scaled_dot_product_attention": "no layer",
    "select": "integers beyond 2^24",
    "slice_update": "no layer",
}
"""Ops that no network holds, at least not with some operands, each with the reason."""

HERE = {op.op_name for op in registry.all_ops()} - {*TESTED_ELSEWHERE, "const", "classify"}


def described(program: Program) -> Any:
    """The description of a program; truth values are handed over as integers."""
    found = proto.message("ModelDescription")()
    for values, features in ((program.main.inputs, found.input), (program.main.outputs, found.output)):
        for value in values:
            array = features.add(name=value.name).type.multiArrayType
            array.dataType = 65568 if value.dtype.is_float else 131104
            array.shape.extend((value.shape or (1,)) if features is found.input else ())
    return found


def again(spec: Any) -> ct.models.MLModel:
    """A network that was written to bytes and read again."""
    return ct.models.MLModel(Package.from_spec(proto.parse("Model", proto.serialize(spec))))


def through_a_network(program: Program, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Results of the program after it was a network."""
    imported = networks.read_program(again(write_network(program, described(program))).package).main
    declared = {value.name: value for value in imported.inputs}
    given = {name: a.astype(declared[name].dtype.numpy).reshape(a.shape or (1,)) for name, a in inputs.items()}
    return list(Session(networks.on_cpu(imported), ReferenceDevice()).run(given).values())


def assert_alike(got: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> None:
    """Results agree to a few units of float32's last place; formulas that are put together of layers round more often.

    What has no axes may have one.
    """
    for mine, theirs in zip(got, wanted, strict=True):
        assert mine.shape == theirs.shape or (not theirs.shape and mine.shape == (1,))
        np.testing.assert_allclose(mine.reshape(theirs.shape).astype(np.float64), theirs, rtol=1e-5, atol=1e-6)


# --- ops -------------------------------------------------------------------------------------------------------------


def refused(case: Case, opset: Opset) -> bool:
    """Whether a network cannot hold the case; asserts that it does the same where it can.

    Left out is what no network holds: empty tensors, integers beyond 2²⁴, rounding to float16.
    """
    program, inputs = case.build(fp32, opset)
    wanted = list(Session(program.main, ReferenceDevice()).run(inputs).values())
    empty = any(0 in array.shape for array in (*inputs.values(), *wanted))
    try:
        got = through_a_network(program, inputs)
    except NetworkRefusedError:
        return not empty
    if registry.lookup(case.op, opset).has(Random):
        assert [array.shape for array in got] == [array.shape for array in wanted]
    elif not empty and not any(map(beyond, (*inputs.values(), *wanted), (*inputs.values(), *got))):
        assert_alike(got, wanted)
    return False


def beyond(declared: np.ndarray, held: np.ndarray) -> bool:
    """Whether float32 does not hold what an array of the declared type says: large integers, or a rounding."""
    integers = declared.dtype.kind in "iu"
    return declared.dtype == np.float16 or (integers and bool(np.any(np.abs(held.astype(np.float64)) >= INTEGERS)))


@pytest.mark.parametrize("op_name", sorted(HERE))
def test_op(op_name: str) -> None:
    """In each of its cases an op comes back from a network as what does the same; what is refused is listed."""
    results = [
        refused(case, opset)
        for case in CASES
        if case.op == op_name and "modulo" not in case.id
        for _, dtype, opset in case.variants()
        if dtype == fp32
    ]
    assert any(results) == (op_name in NOT_HELD)


# --- layers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", LAYERS, ids=lambda c: f"{c.kind} {c.name} {'exact' if c.exact else 'rank 5'}")
def test_layer_after_it_was_read_and_written(case: LayerCase) -> None:
    """A network that was loaded is saved from its program, and gives what it gave."""
    names = [f"x{k}" for k in range(len(case.inputs))]
    arrays = dict(zip(names, (np.asarray(array, np.float32) for array in case.inputs), strict=True))
    count = {"topK": 2, "split": case.params.get("nOutputs", 1)}.get(case.kind, 1)
    outputs = ["y", *(f"y{k}" for k in range(1, int(count)))]
    shapes = {name: array.shape for name, array in arrays.items()}
    model = model_of(L(case.kind, case.params, names, outputs), inputs=shapes, exact=case.exact)
    written = again(model.package.with_program(model.program).spec)
    np.testing.assert_array_equal(written.predict(arrays)["y"], model.predict(arrays)["y"])


def test_layers_of_the_nn_dialect_are_written_as_their_own() -> None:
    """What MIL lacks goes back into the layers that it came from."""
    shapes = {"x": [3, 3]}
    for kind, params in (
        ("acosh", {}),
        ("asinh", {}),
        ("lowerTriangular", {"k": -1}),
        ("upperTriangular", {"k": 1}),
    ):
        model = model_of(L(kind, params), inputs=shapes)
        spec = model.package.with_program(model.program).spec
        found = [layer.WhichOneof("layer") for layer in spec.neuralNetwork.layers]
        assert found == [kind]


def test_a_network_is_loaded_optimised_and_saved(tmp_path: Any) -> None:
    """Passes leave one transposition of three and nothing of a multiplication by 1; the results stay."""
    layers = [
        L("transpose", {"axes": [1, 0, 2]}, ["x"], ["a"]),
        L("transpose", {"axes": [0, 2, 1]}, ["a"], ["b"]),
        L("multiply", {"alpha": 1.0}, ["b"], ["c"]),
        L("transpose", {"axes": [0, 2, 1]}, ["c"], ["d"]),
        L("innerProduct", {"inputChannels": 4, "outputChannels": 2, "weights": numbers(np.arange(8))}, ["d"], ["y"]),
    ]
    model = model_of(*layers, inputs={"x": [2, 3, 4]})
    program = clone_program(model.program)
    run_passes(program, default_passes())
    ct.models.MLModel(model.package.with_program(program)).save(tmp_path / "new.mlmodel")
    new = ct.models.MLModel(tmp_path / "new.mlmodel")
    found = [layer.WhichOneof("layer") for layer in new.get_spec().neuralNetwork.layers]
    assert found == ["transpose", "innerProduct"]
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    np.testing.assert_array_equal(new.predict({"x": x})["y"], model.predict({"x": x})["y"])


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("innerProduct", {"inputChannels": 4, "outputChannels": 2}),
        ("embeddingND", {"vocabSize": 4, "embeddingSize": 2}),
        ("loadConstantND", {"shape": [2, 4]}),
    ],
)
def test_quantised_weights_stay_as_they_were(kind: str, params: dict[str, Any]) -> None:
    """Eight numbers of two bits, by a table of four: the bytes come back, and the results with them."""
    table = {"numberOfBits": "2", "lookupTableQuantization": {"floatValue": [-1.5, 0.0, 0.25, 2.0]}}
    held = {"rawValue": base64.b64encode(bytes([0b00011011, 0b11100100])).decode(), "quantization": table}
    field = "data" if kind == "loadConstantND" else "weights"
    layer = L(kind, {**params, field: held}, [] if kind == "loadConstantND" else ["x"])
    model = model_of(layer, inputs={"x": [3, 1 if kind == "embeddingND" else 4]})
    spec = model.package.with_program(model.program).spec
    written = next(each for each in spec.neuralNetwork.layers if each.WhichOneof("layer") == kind)
    assert getattr(getattr(written, kind), field) == getattr(
        getattr(model.get_spec().neuralNetwork.layers[0], kind), field
    )
    x = {"x": np.ones((3, 1), np.float32) if kind == "embeddingND" else np.ones((3, 4), np.float32)}
    np.testing.assert_array_equal(again(spec).predict(x)["y"], model.predict(x)["y"])


# --- branches and loops ----------------------------------------------------------------------------------------------


def program_of(inputs: Mapping[str, TensorType], build: Any, opset: Opset = iOS15) -> Program:
    program = Program()
    with mb.function(program, "main", inputs, opset) as values:
        mb.output(*build(*values))
    return program


@pytest.mark.parametrize("x", [2.0, -2.0])
def test_branch(x: float) -> None:
    """Each side hands on its own value: 3·x where x > 0, else a value from outside."""

    def build(value: Any) -> Any:
        positive = mb.squeeze(x=mb.greater(x=value, y=np.float32(0)))
        with mb.nested() as yes:
            mb.output(mb.mul(x=value, y=np.float32(3)))
        with mb.nested() as no:
            mb.output(mb.identity(x=value))
        return (mb.cond(pred=positive, blocks=[yes, no]),)

    (got,) = through_a_network(program_of({"x": TensorType(fp32, (1,))}, build), {"x": np.array([x], np.float32)})
    assert got.tolist() == [3 * x if x > 0 else x]


def test_loop_whose_variables_are_computed_of_each_other() -> None:
    """Fibonacci's numbers: (b, a) becomes (a + b, b), so there must be a copy of b before it is overwritten."""
    kinds = {"i": TensorType(int32, ()), "b": TensorType(fp32, (1,)), "a": TensorType(fp32, (1,))}

    def build(x: Any) -> Any:
        with mb.nested(kinds) as test:
            mb.output(mb.less(x=test.arguments[0], y=np.int32(10)))
        with mb.nested(kinds) as body:
            i, b, a = body.arguments
            mb.output(mb.add(x=i, y=np.int32(1)), mb.add(x=a, y=b), b)
        start = [mb.const(np.int32(0)), x, mb.const(np.zeros(1, np.float32))]
        return mb.while_loop(loop_vars=start, blocks=[test, body])[1:]

    got = through_a_network(program_of({"x": TensorType(fp32, (1,))}, build), {"x": np.ones(1, np.float32)})
    assert [array.tolist() for array in got] == [[89], [55]]


def test_list_that_a_loop_writes() -> None:
    """Element i is i·x for the first three of four, and zeros for the last, which is never written."""
    kinds = {"i": TensorType(int32, ()), "ls": ListType(TensorType(fp32, (2,)), 4, dynamic=False)}

    def build(x: Any) -> Any:
        with mb.nested(kinds) as test:
            mb.output(mb.less(x=test.arguments[0], y=np.int32(3)))
        with mb.nested(kinds) as body:
            i, ls = body.arguments
            row = mb.mul(x=x, y=mb.cast(x=i, dtype="fp32"))
            mb.output(mb.add(x=i, y=np.int32(1)), mb.list_write(ls=ls, index=i, value=row))
        empty = mb.make_list(init_length=4, dynamic_length=False, elem_shape=[2])
        _, ls = mb.while_loop(loop_vars=[mb.const(np.int32(0)), empty], blocks=[test, body])
        rows = mb.list_gather(ls=ls, indices=np.arange(4, dtype=np.int32))
        return rows, mb.list_read(ls=ls, index=np.int32(2)), mb.list_length(ls=ls)

    got = through_a_network(program_of({"x": TensorType(fp32, (2,))}, build), {"x": np.array([1, 2], np.float32)})
    assert [array.tolist() for array in got] == [[[0, 0], [1, 2], [2, 4], [0, 0]], [2, 4], [4]]


def test_slices_that_end_with_the_data() -> None:
    """An end of 0 would be before a beginning that counts from behind; one beyond float32's integers is the last."""
    x = np.arange(12, dtype=np.float32).reshape(3, 4)

    def build(x: Any, begin: Any) -> Any:
        by_size = mb.slice_by_size(x=x, begin=np.array([-2, -4], np.int32), size=np.array([2, 3], np.int32))
        end = np.array([2**31 - 1, 3], np.int32)
        return by_size, mb.slice_by_index(x=x, begin=begin, end=end)

    program = program_of({"x": TensorType(fp32, (3, 4)), "begin": TensorType(int32, (2,))}, build)
    by_size, by_index = through_a_network(program, {"x": x, "begin": np.array([1, 2], np.int32)})
    np.testing.assert_array_equal(by_size, x[1:, :3])
    np.testing.assert_array_equal(by_index, x[1:, 2:3])


def test_factors_make_the_sizes_that_were_asked_for() -> None:
    """In float32 7·(31/7) and 11·(13/11) are less than 31 and 13, and readers of the format round down."""

    def build(x: Any) -> Any:
        size = {"target_size_height": 31, "target_size_width": 13}
        return (mb.resize_bilinear(x=x, **size, sampling_mode="UNALIGN_CORNERS"),)

    x = np.arange(77, dtype=np.float32).reshape(1, 1, 7, 11)
    program = program_of({"x": TensorType(fp32, x.shape)}, build)
    wanted = Session(program.main, ReferenceDevice()).run({"x": x}).values()
    assert_alike(through_a_network(program, {"x": x}), list(wanted))


@pytest.mark.parametrize("op", ["rsqrt", "inverse", "log"])
def test_no_epsilon_at_all(op: str) -> None:
    """A layer takes 0 for the default, which would be most of such numbers."""
    build = {"rsqrt": mb.rsqrt, "inverse": mb.inverse, "log": mb.log}[op]
    x = np.array([1e-12, 1e-9], np.float32)
    (got,) = through_a_network(
        program_of({"x": TensorType(fp32, (2,))}, lambda x: (build(x=x, epsilon=0.0),)), {"x": x}
    )
    wanted = {"rsqrt": 1 / np.sqrt(x), "inverse": 1 / x, "log": np.log(x)}[op]
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


# --- shapes that are open --------------------------------------------------------------------------------------------


def test_shapes_are_followed_through_a_network() -> None:
    """What reshapes by a computed size is as flexible after it was a network."""
    size = dims.symbol("rows", 1, 10)

    def build(x: Any) -> Any:
        rows = mb.gather(x=mb.shape(x=x), indices=np.int32(0), axis=0)
        return (mb.reshape(x=x, shape=mb.stack(values=[np.int32(2), mb.mul(x=rows, y=np.int32(3))], axis=0)),)

    program = program_of({"x": TensorType(fp32, (size, 6))}, build)
    spec = write_network(program, described(program_of({"x": TensorType(fp32, (1, 6))}, build)))
    array = spec.description.input[0].type.multiArrayType
    array.shapeRange.sizeRanges.add(lowerBound=1, upperBound=10)
    array.shapeRange.sizeRanges.add(lowerBound=6, upperBound=6)
    model = again(spec)
    for rows in (1, 4):
        x = np.arange(rows * 6, dtype=np.float32).reshape(rows, 6)
        (got,) = model.predict({"x": x}).values()
        np.testing.assert_array_equal(got, x.reshape(2, 3 * rows))


# --- what a network holds --------------------------------------------------------------------------------------------


def test_version_is_the_lowest_that_holds_the_layers() -> None:
    """Version 4 (iOS 13) holds a cosine, version 5 (iOS 14) a cumulative sum; for iOS 13 the latter is refused."""
    x = {"x": TensorType(fp32, (3,))}
    old, new = program_of(x, lambda x: (mb.cos(x=x),)), program_of(x, lambda x: (mb.cumsum(x=x),))
    assert write_network(old, described(old)).specificationVersion == 4
    assert write_network(new, described(new)).specificationVersion == 5
    with pytest.raises(NetworkRefusedError, match=r"came with iOS14; minimum_deployment_target=.*\.iOS14"):
        write_network(new, described(new), newest=iOS13)


def test_weights_stand_in_layers() -> None:
    """A table, a matrix and numbers are held by the layers that use them: nothing is loaded as a tensor."""

    def build(x: Any) -> Any:
        rows = mb.gather(x=np.ones((5, 4), np.float32), indices=x, axis=0)
        y = mb.linear(x=rows, weight=np.ones((2, 4), np.float32), bias=np.ones(2, np.float32))
        return (mb.mul(x=mb.add(x=y, y=np.float32(1)), y=np.float32(2)),)

    program = program_of({"x": TensorType(int32, (3,))}, build)
    layers = write_network(program, described(program)).neuralNetwork.layers
    found = collections.Counter(layer.WhichOneof("layer") for layer in layers)
    assert found == {"expandDims": 1, "embeddingND": 1, "innerProduct": 1, "add": 1, "multiply": 1}


def test_all_ops_that_are_refused_are_listed_at_once() -> None:
    """Each with its name, the reason and what to do, those in branches too."""

    def build(x: Any, go: Any) -> Any:
        big = mb.add(x=mb.cast(x=x, dtype="int32"), y=np.int32(2**31 - 1), name="big")
        with mb.nested() as yes:
            mb.output(mb.resize(x=x, shape=np.array([4], np.int32), resized_dims=np.uint32(1), name="wide"))
        with mb.nested() as no:
            mb.output(mb.concat(values=[x, np.ones(1, np.float32)], axis=0))
        return mb.cond(pred=go, blocks=[yes, no]), big

    program = program_of({"x": TensorType(fp32, (3,)), "go": TensorType(bool_, ())}, build, Opset.iOS17)
    with pytest.raises(NetworkRefusedError) as caught:
        write_network(program, described(program))
    assert [refusal.op for refusal in caught.value.refusals] == ["add 'big'", "resize 'wide'"]
    message = str(caught.value)
    assert "cannot hold 2 of the program's ops" in message
    assert "integers beyond 16777216" in message
    assert "no layer for it; convert to an ML Program" in message


def test_states_and_several_functions_are_refused() -> None:
    program = program_of({"x": TensorType(fp32, (3,))}, lambda x: (mb.cos(x=x),))
    with mb.function(program, "other", {"x": TensorType(fp32, (3,))}, iOS15) as (x,):
        mb.output(mb.sin(x=x))
    with pytest.raises(UnsupportedError, match="one function"):
        write_network(program, proto.message("ModelDescription")())


# --- coremltools -----------------------------------------------------------------------------------------------------


@pytest.mark.interop
@pytest.mark.filterwarnings("ignore")
def test_coremltools_reads_what_is_written(tmp_path: Any, capsys: Any) -> None:
    """The file loads there, and its builder lists the layers."""
    coremltools = pytest.importorskip("coremltools", reason="coremltools, the oracle, is not installed")

    def build(x: Any) -> Any:
        y = mb.conv(x=x, weight=np.ones((4, 3, 3, 3), np.float32), pad_type="same", name="first")
        return (mb.softmax(x=mb.reduce_mean(x=mb.relu(x=y), axes=[2, 3]), axis=-1, name="second"),)

    program = program_of({"x": TensorType(fp32, (1, 3, 8, 8))}, build)
    model = again(write_network(program, described(program)))
    model.save(tmp_path / "model.mlmodel")
    spec = coremltools.models.utils.load_spec(str(tmp_path / "model.mlmodel"))
    builder = coremltools.models.neural_network.NeuralNetworkBuilder(spec=spec)
    builder.inspect_layers()
    listed = capsys.readouterr().out
    assert "first" in listed
    assert "(Type: softmaxND" in listed or "softmaxND" in listed
    assert coremltools.models.MLModel(str(tmp_path / "model.mlmodel"), skip_model_load=True).get_spec() == spec
