"""Normalisation and attention that a source spells out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gristmill.ir import dims
from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.types import TensorType, bool_, fp32
from gristmill.passes.dead_code import DeadCode
from gristmill.passes.fuse_attention import FuseAttention
from gristmill.passes.fuse_normalization import FuseLayerNorm, FuseNormAffine, FuseRsqrt
from tests.passes.programs import build, changed, fill, only, ops, random_inputs, run, transformed

N = dims.symbol("n", 1, 64)
S = {"n": 3}


# --- layer norm ------------------------------------------------------------------------------------------------------


def mean(x, axes):
    return mb.reduce_mean(x=x, axes=axes, keep_dims=True)


def guarded(v, eps=1e-5):
    return mb.add(x=v, y=eps)


DEVIATIONS = {
    "divided by the root": lambda d, v: mb.real_div(x=d, y=mb.sqrt(x=guarded(v))),
    "times rsqrt": lambda d, v: mb.mul(x=d, y=mb.rsqrt(x=guarded(v), epsilon=0.0)),
    "times rsqrt with epsilon": lambda d, v: mb.mul(x=mb.rsqrt(x=v, epsilon=1e-5), y=d),
    "power": lambda d, v: mb.mul(x=d, y=mb.pow(x=guarded(v), y=-0.5)),
    "one over the root": lambda d, v: mb.mul(x=d, y=mb.real_div(x=1.0, y=mb.sqrt(x=guarded(v)))),
    "inverse": lambda d, v: mb.mul(x=d, y=mb.inverse(x=mb.sqrt(x=guarded(v)), epsilon=0.0)),
}
SQUARES = {
    "square": lambda d: mb.square(x=d),
    "product": lambda d: mb.mul(x=d, y=d),
    "power": lambda d: mb.pow(x=d, y=2.0),
}


def spelled_norm(x, axes=(-1,), deviation="times rsqrt", square="square", variance_axes=None):
    d = mb.sub(x=x, y=mean(x, axes))
    return DEVIATIONS[deviation](d, mean(SQUARES[square](d), variance_axes or axes))


@pytest.mark.parametrize("deviation", DEVIATIONS)
@pytest.mark.parametrize("square", SQUARES)
def test_layer_norm_in_its_spellings(deviation, square):
    program = build(lambda x: spelled_norm(x, (-1,), deviation, square), (N, 4, 12))
    after = transformed(program, FuseLayerNorm(), DeadCode(), sizes=S)
    assert ops(after) == ["layer_norm"]
    norm = only(after, "layer_norm")
    assert norm.axes == (2,)
    assert norm.epsilon == np.float32(1e-5)


def test_layer_norm_with_factor_and_term():
    def make(x):
        y = mb.mul(x=spelled_norm(x, (-2, -1)), y=fill((4, 12)))
        return mb.add(x=fill((1, 4, 12), 2), y=y, name="y")

    after = transformed(build(make, (N, 4, 12)), FuseLayerNorm(), FuseNormAffine(), DeadCode(), sizes=S)
    assert ops(after) == ["layer_norm"]
    assert after.main.outputs[0].name == "y"


@pytest.mark.parametrize("shape", [(N, 5, 12), (N, 5, 4, 3)])
def test_instance_norm(shape):
    """Over the space of an image, with a factor for each channel."""
    ones = (1,) * (len(shape) - 2)

    def make(x):
        y = spelled_norm(x, tuple(range(2, len(shape))))
        return mb.sub(x=mb.mul(x=y, y=fill((5, *ones))), y=fill((1, 5, *ones), 2))

    after = transformed(build(make, shape), FuseLayerNorm(), FuseNormAffine(), DeadCode(), sizes=S)
    assert ops(after) == ["instance_norm"]


def test_factors_of_another_shape_stay_apart():
    def make(x):
        return mb.mul(x=spelled_norm(x, (-1,)), y=fill((4, 1)))

    after = transformed(build(make, (2, 3, 4, 12)), FuseLayerNorm(), FuseNormAffine(), DeadCode())
    assert ops(after) == ["layer_norm", "mul"]


def test_a_factor_behind_a_term_stays_apart():
    def make(x):
        y = mb.add(x=mb.layer_norm(x=x, axes=[-1], epsilon=1e-5), y=fill((12,)))
        return mb.mul(x=y, y=fill((12,), 2))

    after = transformed(build(make, (N, 4, 12)), FuseNormAffine(), DeadCode(), sizes=S)
    assert ops(after) == ["layer_norm", "mul"]


@pytest.mark.parametrize(
    "make",
    [
        lambda x: spelled_norm(x, (1,)),  # not the last axis
        lambda x: spelled_norm(x, (-1,), variance_axes=(-2, -1)),
        lambda x: mb.mul(x=x, y=mb.rsqrt(x=mean(mb.square(x=x), [-1]), epsilon=1e-5)),  # RMS norm: MIL has no op
        lambda x: mb.real_div(
            x=mb.sub(x=x, y=mean(x, [-1])),
            y=mb.sqrt(x=guarded(mb.sub(x=mean(mb.square(x=x), [-1]), y=mb.square(x=mean(x, [-1]))))),
        ),  # mean(x²) - mean(x)² rounds otherwise
    ],
)
def test_other_normalisations_stay(make):
    assert changed(build(make, (2, 4, 12)), FuseLayerNorm()) == []


def test_a_mean_that_is_used_elsewhere_stays():
    def make(x):
        m = mean(x, [-1])
        d = mb.sub(x=x, y=m)
        return mb.mul(x=d, y=mb.rsqrt(x=mean(mb.square(x=d), [-1]), epsilon=1e-5)), m

    assert changed(build(make, (2, 4, 12)), FuseLayerNorm()) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda x: mb.rsqrt(x=mb.add(x=x, y=1e-3), epsilon=0.0),
        lambda x: mb.pow(x=mb.add(x=1e-3, y=x), y=-0.5),
        lambda x: mb.real_div(x=1.0, y=mb.sqrt(x=mb.add(x=x, y=1e-3))),
    ],
)
def test_the_reciprocal_of_a_root(make):
    after = transformed(build(lambda x: make(mb.square(x=x)), (N, 4)), FuseRsqrt(), DeadCode(), sizes=S)
    assert ops(after) == ["square", "rsqrt"]
    assert only(after, "rsqrt").epsilon == pytest.approx(1e-3)


def test_a_root_of_a_difference_stays():
    """``epsilon`` is positive."""
    assert changed(build(lambda x: mb.rsqrt(x=mb.sub(x=x, y=1.0), epsilon=0.0), (4,)), FuseRsqrt()) == []


# --- attention -------------------------------------------------------------------------------------------------------

E = 8
HEADS = {"x": (N, 2, 5, E), "y": (N, 2, 6, E), "z": (N, 2, 6, 3)}
SCALE = 1 / math.sqrt(E)


def attention(scores, value):
    return mb.matmul(x=mb.softmax(x=scores, axis=-1), y=value, name="out")


def product(query, key):
    return mb.matmul(x=query, y=key, transpose_y=True)


SPELLINGS = {
    "scores multiplied": lambda q, k, v: attention(mb.mul(x=product(q, k), y=SCALE), v),
    "scores divided": lambda q, k, v: attention(mb.real_div(x=product(q, k), y=math.sqrt(E)), v),
    "query multiplied": lambda q, k, v: attention(product(mb.mul(x=q, y=SCALE), k), v),
    "both multiplied": lambda q, k, v: attention(
        product(mb.mul(x=q, y=math.sqrt(SCALE)), mb.mul(x=k, y=math.sqrt(SCALE))), v
    ),
    "mask added": lambda q, k, v: attention(mb.add(x=mb.mul(x=product(q, k), y=SCALE), y=fill((1, 1, 5, 6))), v),
    "two masks added": lambda q, k, v: attention(
        mb.add(x=mb.add(x=fill((1, 1, 5, 6)), y=mb.mul(x=product(q, k), y=SCALE)), y=fill((1, 2, 1, 6))), v
    ),
    "mask selects": lambda q, k, v: attention(
        mb.select(cond=np.tri(5, 6, dtype=bool), a=mb.mul(x=product(q, k), y=SCALE), b=np.float32(-np.inf)), v
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_attention_in_its_spellings(spelling):
    program = build(SPELLINGS[spelling], *HEADS.values(), opset=Opset.iOS18)
    after = transformed(program, FuseAttention(), DeadCode(), sizes=S)
    assert ops(after)[-1:] == ["scaled_dot_product_attention"]
    assert ops(after)[:-1] == (["add"] if spelling == "two masks added" else [])  # of the masks
    assert after.main.outputs[0].name == "out"


def test_a_key_that_arrives_transposed_is_turned_round():
    def make(q, k, v):
        return attention(mb.mul(x=mb.matmul(x=q, y=k), y=SCALE), v)

    program = build(make, (N, 2, 5, E), (N, 2, E, 6), (N, 2, 6, 3), opset=Opset.iOS18)
    after = transformed(program, FuseAttention(), DeadCode(), sizes=S)
    assert ops(after) == ["transpose", "scaled_dot_product_attention"]


def test_another_scale_goes_into_the_query():
    """T5 has none at all."""
    program = build(lambda q, k, v: attention(product(q, k), v), *HEADS.values(), opset=Opset.iOS18)
    after = transformed(program, FuseAttention(), DeadCode(), sizes=S, ulp=64)  # scores are large, so is their rounding
    assert ops(after) == ["mul", "scaled_dot_product_attention"]


def masked_attention(mask):
    return build(
        lambda q, k, v: attention(mb.add(x=mb.mul(x=product(q, k), y=SCALE), y=mask), v),
        *HEADS.values(),
        opset=Opset.iOS18,
    )


@pytest.mark.parametrize("number", [np.finfo(np.float32).min, -np.inf, -1e9])
def test_a_mask_that_excludes_by_large_numbers_becomes_bools(number):
    """Float16 could not hold the number, and would keep the attention in float32."""
    mask = np.where(np.tri(5, 6, dtype=bool), 0, number).astype(np.float32)
    after = transformed(masked_attention(mask), FuseAttention(), DeadCode(), sizes=S)
    found = only(after, "scaled_dot_product_attention").attn_mask
    np.testing.assert_array_equal(found.constant.numpy(), np.tri(5, 6, dtype=bool))


def test_layers_share_a_mask():
    """As large a one as a decoder's causal mask is stored once."""
    mask = np.where(np.tri(5, 6, dtype=bool), 0, -np.inf).astype(np.float32)

    def make(q, k, v):
        shared = mb.const(mask)
        return tuple(attention(mb.add(x=mb.mul(x=product(q, k), y=SCALE), y=shared), w) for w in (v, mb.relu(x=v)))

    after = transformed(build(make, *HEADS.values(), opset=Opset.iOS18), FuseAttention(), DeadCode(), sizes=S)
    masks = {op.attn_mask for op in after.main.body if op.op_name == "scaled_dot_product_attention"}
    assert len(masks) == 1


def test_a_mask_by_which_scores_still_count_stays_one_of_numbers():
    mask = np.where(np.tri(5, 6, dtype=bool), 0, -1e4).astype(np.float32)
    after = transformed(masked_attention(mask), FuseAttention(), DeadCode(), sizes=S)
    assert only(after, "scaled_dot_product_attention").attn_mask.dtype == fp32


def test_a_mask_that_leaves_a_query_nothing_to_see_stays():
    """The first query: what it sees is decided by roundings of scores near -10⁹, which the op has not."""
    mask = np.where(np.tri(5, 6, -1, dtype=bool), 0, -1e9).astype(np.float32)
    assert changed(masked_attention(mask), FuseAttention()) == []


def test_attention_stays_spelled_out_before_ios18():
    program = build(SPELLINGS["scores multiplied"], *HEADS.values(), opset=Opset.iOS17)
    assert changed(program, FuseAttention()) == []


def test_a_finite_number_in_place_of_excluded_scores_stays():
    """A query that may see nothing then sees everything alike; the op would give NaN."""

    def make(q, k, v):
        scores = mb.mul(x=product(q, k), y=SCALE)
        return attention(mb.select(cond=np.tri(5, 6, dtype=bool), a=scores, b=np.float32(-1e9)), v)

    assert changed(build(make, *HEADS.values(), opset=Opset.iOS18), FuseAttention()) == []


@pytest.mark.parametrize(
    "shapes",
    [
        ((5, E), (6, E), (6, 3)),  # rank 2
        ((2, 2, 5, E), (1, 2, 6, E), (2, 2, 6, 3)),  # one key for a batch of queries
    ],
)
def test_other_ranks_and_broadcasting_stay(shapes):
    program = build(SPELLINGS["scores multiplied"], *shapes, opset=Opset.iOS18)
    assert changed(program, FuseAttention()) == []


def test_a_softmax_along_another_axis_stays():
    def make(q, k, v):
        return mb.matmul(x=mb.softmax(x=mb.mul(x=product(q, k), y=SCALE), axis=-2), y=v)

    assert changed(build(make, *HEADS.values(), opset=Opset.iOS18), FuseAttention()) == []


def test_weights_that_are_an_output_stay():
    def make(q, k, v):
        weights = mb.softmax(x=mb.mul(x=product(q, k), y=SCALE), axis=-1)
        return mb.matmul(x=weights, y=v), weights

    assert changed(build(make, *HEADS.values(), opset=Opset.iOS18), FuseAttention()) == []


def test_a_mask_that_is_an_input():
    types = {name: TensorType(fp32, shape) for name, shape in HEADS.items()}
    types["u"] = TensorType(bool_, (1, 1, 5, 6))

    def make(q, k, v, mask):
        return attention(mb.select(cond=mask, a=mb.mul(x=product(q, k), y=SCALE), b=np.float32(-np.inf)), v)

    program = build(make, types=types, opset=Opset.iOS18)
    inputs = random_inputs(program, S)
    inputs["u"] = np.tri(5, 6, dtype=bool)[None, None]
    (before,) = run(program, inputs)
    assert changed(program, FuseAttention()) == ["fuse_attention"]
    (after,) = run(program, inputs)
    np.testing.assert_allclose(after, before, rtol=0, atol=16 * 2.0**-23)  # the spelled formula's own roundings
