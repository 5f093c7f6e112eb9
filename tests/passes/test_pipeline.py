"""The whole pipeline: what users may change in it, that it comes to an end, and that its cost is linear."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from gristmill.errors import InputError
from gristmill.ir import dims
from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.passes.constant_folding import ConstantFolding
from gristmill.passes.infra import FunctionPass
from gristmill.passes.pipeline import PassPipeline, cleanup, default_passes, register_pass
from tests.passes.programs import build, changed, fill, ops, transformed

N = dims.symbol("n", 1, 64)


# --- programs --------------------------------------------------------------------------------------------------------


def layer_norm(x, width):
    d = mb.sub(x=x, y=mb.reduce_mean(x=x, axes=[-1], keep_dims=True))
    v = mb.reduce_mean(x=mb.pow(x=d, y=2.0), axes=[-1], keep_dims=True)
    y = mb.real_div(x=d, y=mb.sqrt(x=mb.add(x=v, y=1e-5)))
    return mb.add(x=mb.mul(x=y, y=fill((width,), 1)), y=fill((width,), 2))


def dense(x, inputs, outputs, seed):
    return mb.add(x=mb.matmul(x=x, y=fill((inputs, outputs), seed) / 4), y=fill((outputs,), seed + 1))


def encoder_layer(x, width=8, heads=2, length=6):
    """A transformer's layer as a source without any fused operator has it."""

    def heads_of(value):
        value = mb.reshape(x=value, shape=[-1, length, heads, width // heads])
        return mb.transpose(x=value, perm=[0, 2, 1, 3])

    normed = layer_norm(x, width)
    query, key, value = (heads_of(dense(normed, width, width, seed)) for seed in (3, 5, 7))
    scores = mb.matmul(x=query, y=mb.transpose(x=key, perm=[0, 1, 3, 2]))
    weights = mb.softmax(x=mb.real_div(x=scores, y=math.sqrt(width // heads)), axis=-1)
    mixed = mb.transpose(x=mb.matmul(x=weights, y=value), perm=[0, 2, 1, 3])
    x = mb.add(x=x, y=dense(mb.reshape(x=mixed, shape=[-1, length, width]), width, width, 9))
    hidden = dense(layer_norm(x, width), width, 2 * width, 11)
    half = mb.mul(x=hidden, y=0.5)
    hidden = mb.mul(x=half, y=mb.add(x=mb.erf(x=mb.real_div(x=hidden, y=math.sqrt(2))), y=1.0))
    return mb.add(x=x, y=dense(hidden, 2 * width, width, 13))


def transformer(layers: int, opset: Opset = Opset.iOS18) -> Program:
    def make(x):
        for _ in range(layers):
            x = encoder_layer(x)
        return x

    return build(make, (N, 6, 8), opset=opset)


def network(blocks: int) -> Program:
    """A residual convolutional network as a channels-last source has it."""

    def conv(x, seed):
        y = mb.transpose(x=x, perm=[0, 3, 1, 2])
        y = mb.pad(x=y, pad=[0, 0, 0, 0, 1, 1, 1, 1])
        y = mb.conv(x=y, weight=fill((4, 4, 3, 3), seed) / 6)
        y = mb.batch_norm(x=y, mean=fill((4,), 1), variance=np.abs(fill((4,), 2)) + 1, gamma=fill((4,), 3))
        y = mb.transpose(x=y, perm=[0, 2, 3, 1])
        return mb.mul(x=y, y=mb.real_div(x=mb.relu6(x=mb.add(x=y, y=3.0)), y=6.0))

    def make(x):
        x = conv(x, 0)
        for seed in range(blocks):
            x = mb.add(x=x, y=conv(x, seed + 1))
        return x

    return build(make, (N, 5, 5, 4))


def test_a_transformer_becomes_what_core_ml_has_ops_for():
    after = transformed(transformer(2), *default_passes(), sizes={"n": 2}, ulp=256)  # two layers of rounding errors
    layer = [
        "layer_norm",
        *["linear", "reshape", "transpose"] * 3,
        "scaled_dot_product_attention",
        *["transpose", "reshape", "linear", "add"],
        *["layer_norm", "linear", "gelu", "linear", "add"],
    ]
    assert sorted(ops(after)) == sorted(layer * 2)


def test_before_ios18_attention_is_spelled_out():
    after = transformed(transformer(1, Opset.iOS15), *default_passes(), sizes={"n": 2}, ulp=256)
    assert ops(after).count("matmul") == 2
    assert ops(after).count("transpose") == 4  # of the key, one; its swap is a flag of the product
    assert ops(after).count("softmax") == 1


def test_a_channels_last_network_keeps_two_transpositions():
    """One in front of the first layer, one behind the last."""
    after = transformed(network(3), *default_passes(), sizes={"n": 2}, ulp=64)
    conv = ["conv", "sigmoid_hard", "mul"]
    assert sorted(ops(after)) == sorted([*["transpose"] * 2, *conv, *[*conv, "add"] * 3])


def calls_of(function) -> int:
    """How many Python functions ran: a measure of work that does not depend on the machine."""
    count = 0

    def on_event(frame, event, argument):
        nonlocal count
        count += event == "call"

    sys.setprofile(on_event)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("model", [transformer, network])
def test_the_cost_is_linear_in_the_number_of_layers(model):
    """Ten times the layers take ten times the calls; a pass that looked through the program for each op would show."""
    small, large = model(10), model(100)
    few = calls_of(lambda: [step.run(small) for step in default_passes()])
    many = calls_of(lambda: [step.run(large) for step in default_passes()])
    assert many < 10.5 * few


def test_a_long_chain_costs_as_much_for_each_op():
    """100 against 1,000 ops of the kind that patterns begin with, none of which match."""

    def chain(length):
        def make(x):
            for _ in range(length):
                x = mb.mul(x=mb.add(x=x, y=1.5), y=0.7)
            return x

        return build(make, (N,))

    small, large = chain(100), chain(1000)
    few = calls_of(lambda: [step.run(small) for step in default_passes()])
    many = calls_of(lambda: [step.run(large) for step in default_passes()])
    assert many < 10.5 * few


# --- choosing passes -------------------------------------------------------------------------------------------------


def test_the_three_pipelines():
    assert PassPipeline.EMPTY.passes == []
    assert PassPipeline.CLEANUP.passes == [step.name for step in cleanup()]
    assert PassPipeline.DEFAULT.passes == PassPipeline().passes == [step.name for step in default_passes()]
    assert "fuse_gelu" in PassPipeline.DEFAULT.passes


def test_each_access_gives_a_new_pipeline():
    PassPipeline.DEFAULT.passes = []
    pipeline = PassPipeline.DEFAULT
    pipeline.remove_passes({"dead_code"})
    assert "dead_code" in PassPipeline.DEFAULT.passes


def test_passes_are_added_and_removed_by_coremltools_names():
    pipeline = PassPipeline.EMPTY
    pipeline.append_pass("common::fuse_linear_bias")
    pipeline.insert_pass(0, "common::const_elimination")
    pipeline.insert_pass(index=1, pass_name="fuse_linear")
    pipeline.append_pass("dead_code")
    assert pipeline.passes == ["constant_folding", "fuse_linear", "fuse_linear_bias", "dead_code"]
    pipeline.remove_passes(["common::dead_code_elimination"])
    pipeline.remove_pass(0)
    assert pipeline.passes == ["fuse_linear", "fuse_linear_bias"]


def test_what_was_removed_does_not_happen():
    pipeline = PassPipeline.DEFAULT
    pipeline.remove_passes({"common::fuse_gelu_exact"})
    program = transformer(1)
    changed(program, *pipeline.build())
    assert "erf" in ops(program)
    assert "gelu" not in ops(program)


@pytest.mark.parametrize(
    "use",
    [
        lambda pipeline: pipeline.append_pass("common::fuse_lineer_bias"),
        lambda pipeline: pipeline.insert_pass(0, "common::fuse_lineer_bias"),
        lambda pipeline: pipeline.remove_passes({"common::fuse_lineer_bias"}),
        lambda pipeline: pipeline.set_options("common::fuse_lineer_bias", {}),
        lambda pipeline: PassPipeline(["common::fuse_lineer_bias"]),
    ],
)
def test_an_unknown_name_is_an_error_that_names_its_neighbours(use):
    with pytest.raises(InputError, match="no such pass") as caught:
        use(PassPipeline.DEFAULT)
    assert "common::fuse_linear_bias" in str(caught.value)


def test_options_reach_the_pass():
    pipeline = PassPipeline.DEFAULT
    pipeline.set_options("common::const_elimination", {"skip_const_by_size": "1e3"})
    assert pipeline.get_options("constant_folding") == {"size_limit": 1000}
    limits = [step.size_limit for step in pipeline.build() if isinstance(step, ConstantFolding)]
    assert limits == [1000, 1000]
    assert PassPipeline.DEFAULT.get_options("constant_folding") is None


def test_options_of_another_pipeline():
    source, target = PassPipeline.DEFAULT, PassPipeline.CLEANUP
    source.set_options("constant_folding", {"size_limit": 5})
    target.set_options_by_another_pipeline(source)
    assert target.get_all_options() == {"constant_folding": {"size_limit": 5}}


def test_options_that_a_pass_lacks_are_an_error():
    with pytest.raises(InputError, match="fuse_gelu"):
        PassPipeline.DEFAULT.set_options("fuse_gelu", {"size_limit": 5})


def test_options_are_not_replaced_unless_asked():
    pipeline = PassPipeline.DEFAULT
    pipeline.set_options("constant_folding", {"size_limit": 5})
    with pytest.raises(InputError, match="options already"):
        pipeline.set_options("constant_folding", {"size_limit": 6}, override=False)


def test_a_pass_of_the_users_own():
    @register_pass
    class Renaming(FunctionPass):
        name = "tests::renaming"

        def run_on(self, function):
            return False

    pipeline = PassPipeline.EMPTY
    pipeline.append_pass("tests::renaming")
    assert isinstance(pipeline.build()[0], Renaming)
    with pytest.raises(InputError, match="already"):

        @register_pass
        class Another(FunctionPass):
            name = "fuse_gelu"

            def run_on(self, function):
                return False


@pytest.mark.interop
def test_aliases_are_names_of_coremltools():
    """Each alias is a pass that coremltools has."""
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

    from gristmill.passes.pipeline import _ALIASES

    assert set(_ALIASES) <= set(PASS_REGISTRY.passes)
