"""Linear and convolutional layers take over what surrounds them."""

from __future__ import annotations

import numpy as np
import pytest

from gristmill.ir import dims
from gristmill.ir.builder import mb
from gristmill.ir.constants import LazyData
from gristmill.ir.opset import Opset
from gristmill.ir.types import TensorType, fp16, fp32, int32
from gristmill.passes.dead_code import DeadCode
from gristmill.passes.fuse_conv import FuseConvArithmetic, FuseConvBatchNorm
from gristmill.passes.fuse_linear import FuseLinear, FuseLinearBias, FuseLinearReshapes, FuseLinearScale
from gristmill.passes.fuse_padding import FusePadding
from tests.passes.programs import build, changed, expected, fill, only, ops, random_inputs, run, shown, transformed

N = dims.symbol("n", 1, 64)
S = {"n": 3}
W = fill((6, 4))


# --- linear ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("shape", [(N, 4), (2, N, 4)])
def test_a_product_with_a_matrix_and_a_bias_is_a_linear_layer(transposed, shape):
    def make(x):
        y = mb.matmul(x=x, y=W if transposed else W.T.copy(), transpose_y=transposed)
        return mb.add(x=fill((6,)), y=y)

    after = transformed(build(make, shape), FuseLinear(), FuseLinearBias(), DeadCode(), sizes=S)
    assert ops(after) == ["linear"]
    np.testing.assert_array_equal(only(after, "linear").weight.constant.numpy(), W)


def test_the_text_of_a_linear_layer():
    def make(x):
        y = mb.matmul(x=x, y=np.array([[1, 2, 3], [4, 5, 6]], np.float32), name="product")
        return mb.sub(x=y, y=np.array([[1, 0, 2]], np.float32), name="y")

    after = transformed(build(make, (N, 2)), FuseLinear(), FuseLinearBias(), DeadCode(), sizes=S)
    assert shown(after) == expected("""
        func main<ios17>(tensor<fp32, [n{1..64}, 2]> x) {
                tensor<fp32, [3, 2]> product_y_transposed = const()[val = tensor<fp32, [3, 2]>([[0x1p+0, 0x1p+2], [0x1p+1, 0x1.4p+2], [0x1.8p+1, 0x1.8p+2]])];
                tensor<fp32, [3]> y_bias = const()[val = tensor<fp32, [3]>([-0x1p+0, 0x0p+0, -0x1p+1])];
                tensor<fp32, [n{1..64}, 3]> y = linear(bias = y_bias, weight = product_y_transposed, x = x);
            } -> (y);
    """)  # noqa: E501  # a program's text is not wrapped


def test_biases_add_up_in_one_rounding():
    """1 + 2⁻²⁴ + 2⁻²⁴ is 1 + 2⁻²³; adding one at a time in float32 gives 1."""

    def make(x):
        y = mb.linear(x=x, weight=np.eye(1, dtype=np.float32), bias=np.ones(1, np.float32))
        tiny = np.float32(2**-24)
        return mb.add(x=mb.add(x=y, y=tiny), y=tiny)

    after = transformed(build(make, (N, 1)), FuseLinearBias(), DeadCode(), sizes=S)
    assert ops(after) == ["linear"]
    assert only(after, "linear").bias.constant.numpy() == np.float32(1 + 2**-23)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: mb.matmul(x=x, y=fill((2, 4, 6))),  # a stack of matrices
        lambda x: mb.matmul(x=W, y=x, transpose_y=True),  # on the left
        lambda x: mb.matmul(x=x, y=fill((2, 6)), transpose_x=True),
        lambda x: mb.matmul(x=x, y=fill((4,))),
        lambda x: mb.matmul(x=mb.expand_dims(x=x, axes=[0, 1]), y=fill((4, 6))),  # rank 4
    ],
)
def test_other_products_stay(make):
    assert changed(build(make, (2, 4)), FuseLinear()) == []


def test_products_of_integers_stay():
    def make(x):
        return mb.matmul(x=x, y=np.ones((4, 6), np.int32))

    assert changed(build(make, (2, 4), dtype=int32), FuseLinear()) == []


@pytest.mark.parametrize(
    "other",
    [
        fill((3, 6)),  # one for each row too
        fill((3, 1)),  # one for each row
        fill((1, 1, 6)),  # the rank grows
    ],
)
def test_what_is_no_bias_is_added_afterwards(other):
    program = build(lambda x: mb.add(x=mb.linear(x=x, weight=W), y=other), (3, 4))
    assert changed(program, FuseLinearBias()) == []


def test_a_product_that_is_used_twice_keeps_its_bias_apart():
    def make(x):
        y = mb.linear(x=x, weight=W)
        return mb.add(x=y, y=fill((6,))), mb.relu(x=y)

    assert changed(build(make, (3, 4)), FuseLinearBias()) == []


def test_a_bias_behind_a_cast_stays_apart():
    """The source rounds the product to float16."""

    def make(x):
        return mb.add(x=mb.cast(x=mb.linear(x=x, weight=W), dtype="fp16"), y=fill((6,), dtype=np.float16))

    assert changed(build(make, (3, 4)), FuseLinearBias()) == []


def test_integers_keep_their_bias_apart():
    def make(x):
        y = mb.linear(x=x, weight=np.ones((6, 4), np.int32), bias=np.ones(6, np.int32))
        return mb.add(x=y, y=np.ones(6, np.int32))

    assert changed(build(make, (3, 4), dtype=int32), FuseLinearBias()) == []


def heads(x):
    return mb.transpose(x=mb.reshape(x=x, shape=[-1, 5, 2, 3]), perm=[0, 2, 1, 3])


@pytest.mark.parametrize(
    ("make", "left"),
    [
        (lambda y: mb.mul(x=y, y=0.3), ["linear"]),
        (lambda y: mb.real_div(x=y, y=7.0), ["linear"]),
        (lambda y: heads(mb.mul(x=0.3, y=y)), ["linear", "reshape", "transpose"]),
        (lambda y: mb.mul(x=heads(y), y=0.3), ["linear", "reshape", "transpose"]),
        (lambda y: mb.mul(x=heads(mb.mul(x=y, y=0.3)), y=1.7), ["linear", "reshape", "transpose"]),
    ],
)
@pytest.mark.parametrize("bias", [None, fill((6,), 3)])
def test_a_number_joins_a_linear_layer_from_behind_movements(make, left, bias):
    program = build(lambda x: make(mb.linear(x=x, weight=W, bias=bias)), (N, 5, 4))
    after = transformed(program, FuseLinearScale(), DeadCode(), sizes=S)
    assert ops(after) == left


def test_factors_that_cancel_leave_the_weight_as_it_was():
    """1/√8 and √8, as where a source scales queries itself: rounded once, the product is the weight bit by bit."""

    def make(x):
        return mb.mul(x=mb.mul(x=mb.linear(x=x, weight=W), y=np.float32(0.5**1.5)), y=np.float32(2**1.5))

    after = transformed(build(make, (N, 4)), FuseLinearScale(), DeadCode(), sizes=S)
    assert ops(after) == ["linear"]
    factor = np.float64(np.float32(0.5**1.5)) * np.float64(np.float32(2**1.5))
    np.testing.assert_array_equal(only(after, "linear").weight.constant.numpy(), (W * factor).astype(np.float32))


@pytest.mark.parametrize(
    "make",
    [
        lambda y: mb.mul(x=y, y=fill((6,))),
        lambda y: mb.real_div(x=1.0, y=y),
        lambda y: mb.real_div(x=y, y=0.0),
        lambda y: mb.mul(x=y, y=np.float32(1e-25)),
        lambda y: mb.mul(x=mb.relu(x=y), y=0.5),
        lambda y: (mb.mul(x=y, y=0.5), y),
        lambda y: mb.mul(x=y, y=np.full((1, 1, 1), 0.5, np.float32)),  # the rank grows
        lambda y: mb.mul(x=mb.cast(x=mb.cast(x=y, dtype="fp16"), dtype="fp32"), y=0.5),
    ],
)
def test_other_factors_stay_behind_a_linear_layer(make):
    assert changed(build(lambda x: make(mb.linear(x=x, weight=W)), (3, 4)), FuseLinearScale()) == []


def test_reshapes_around_a_linear_layer_go():
    """As in a source whose layers know matrices only; the batch is not known before the run."""

    def make(x):
        y = mb.linear(x=mb.reshape(x=x, shape=[-1, 4]), weight=W, bias=fill((6,)))
        return mb.reshape(x=y, shape=[-1, 5, 6], name="y")

    after = transformed(build(make, (N, 5, 4)), FuseLinearReshapes(), DeadCode(), sizes=S)
    assert ops(after) == ["linear"]
    assert after.main.outputs[0].name == "y"


@pytest.mark.parametrize(
    ("shape", "inner", "outer"),
    [
        ((5, 2, 4), [-1, 4], [2, 5, 6]),  # other axes afterwards
        ((5, 2, 2, 4), [-1, 4], [5, 4, 6]),
        ((5, 3, 2, 2), [-1, 4], [5, 3, 6]),  # heads are joined
    ],
)
def test_one_of_two_reshapes_around_a_linear_layer_goes(shape, inner, outer):
    def make(x):
        return mb.reshape(x=mb.linear(x=mb.reshape(x=x, shape=inner), weight=W), shape=outer)

    after = transformed(build(make, shape), FuseLinearReshapes(), DeadCode())
    assert ops(after) == ["reshape", "linear"]


@pytest.mark.parametrize("outer", [[5, 24], [5, 2, 2, 6], [-1], [5, 4, 2, 3]])
def test_rows_are_multiplied_as_they_come_where_the_second_reshape_stays(outer):
    """It joins or parts rows, or their elements: then both reshapes are one, behind the layer."""

    def make(x):
        return mb.reshape(x=mb.linear(x=mb.reshape(x=x, shape=[-1, 4]), weight=W, name="layer"), shape=outer, name="y")

    after = transformed(build(make, (5, 4, 4)), FuseLinearReshapes(), DeadCode())
    assert ops(after) == ["linear", "reshape"]
    assert after.main.outputs[0].name == "y"


@pytest.mark.parametrize(("outer", "axes"), [(mb.expand_dims, [0]), (mb.expand_dims, [1]), (mb.squeeze, [1])])
def test_ones_around_rows_come_before_a_linear_layer(outer, axes):
    def make(x):
        rows = mb.reshape(x=x, shape=[5, 1, 4] if outer is mb.squeeze else [5, 4])
        return outer(x=mb.linear(x=rows, weight=W), axes=axes)

    after = transformed(build(make, (5, 2, 2)), FuseLinearReshapes(), DeadCode())
    assert ops(after) == ["reshape", "linear"]


@pytest.mark.parametrize("shape", [(5, 4, 2, 2), (5, 2, 2, 4)])
def test_reshapes_of_outputs_stay(shape):
    """Where heads are joined before, or rows have rank 4, which linear has not."""

    def make(x):
        return mb.reshape(x=mb.linear(x=mb.reshape(x=x, shape=[-1, 4]), weight=W), shape=[5, 24])

    assert changed(build(make, shape), FuseLinearReshapes()) == []


# --- convolution -----------------------------------------------------------------------------------------------------


def batch_norm(y, channels, **extra):
    return mb.batch_norm(
        x=y,
        mean=fill((channels,), 2),
        variance=np.abs(fill((channels,), 3)) + 0.1,
        gamma=fill((channels,), 4),
        beta=fill((channels,), 5),
        epsilon=1e-3,
        **extra,
    )


CONVS = {
    "plain": ((N, 4, 7), lambda x: mb.conv(x=x, weight=fill((6, 4, 3)))),
    "bias": ((N, 4, 7, 5), lambda x: mb.conv(x=x, weight=fill((6, 4, 3, 3)), bias=fill((6,), 9), strides=[2, 1])),
    "groups": ((N, 4, 7, 5), lambda x: mb.conv(x=x, weight=fill((6, 2, 3, 3)), groups=2, pad_type="same")),
    "volume": ((N, 2, 4, 5, 6), lambda x: mb.conv(x=x, weight=fill((6, 2, 2, 2, 2)))),
    "transposed": ((N, 4, 7, 5), lambda x: mb.conv_transpose(x=x, weight=fill((4, 6, 3, 3)), bias=fill((6,), 9))),
    "transposed groups": (
        (N, 4, 7, 5),
        lambda x: mb.conv_transpose(x=x, weight=fill((4, 3, 3, 3)), groups=2, strides=[2, 2]),
    ),
}


@pytest.mark.parametrize("kind", CONVS)
def test_batch_norm_joins_a_convolution(kind):
    shape, conv = CONVS[kind]
    program = build(lambda x: batch_norm(conv(x), 6, name="y"), shape)
    after = transformed(program, FuseConvBatchNorm(), DeadCode(), sizes=S)
    assert ops(after) in (["conv"], ["conv_transpose"])
    assert after.main.outputs[0].name == "y"


@pytest.mark.parametrize("kind", CONVS)
@pytest.mark.parametrize("op_name", ["add", "sub", "mul", "real_div"])
@pytest.mark.parametrize("form", ["channel", "number", "batch"])
def test_a_constant_for_each_channel_joins_a_convolution(kind, op_name, form):
    shape, conv = CONVS[kind]
    ones = (1,) * (len(shape) - 2)
    other = {"channel": fill((6, *ones), 6), "number": np.float32(2.5), "batch": fill((1, 6, *ones), 7)}[form]
    program = build(lambda x: mb.op(op_name, x=conv(x), y=other), shape)
    after = transformed(program, FuseConvArithmetic(), DeadCode(), sizes=S, ulp=64)  # one divisor is small: sums grow
    assert ops(after) in (["conv"], ["conv_transpose"])


def test_a_convolution_that_is_subtracted():
    shape, conv = CONVS["bias"]
    program = build(lambda x: mb.sub(x=fill((6, 1, 1), 6), y=conv(x)), shape)
    assert ops(transformed(program, FuseConvArithmetic(), DeadCode(), sizes=S)) == ["conv"]


def test_a_chain_is_folded_in_one_rounding():
    """The weight is (1 + 2⁻²³)·(1 + 2⁻²³)·(1 + 2⁻²³), which is 1 + 3·2⁻²³ and a little: by hand, rounded once.

    One factor at a time gives the same; 1/3·3 does not: float32(1/3)·3 is 1 + 2⁻²⁵, and rounds to 1.
    """

    def make(x):
        y = mb.conv(x=x, weight=np.full((1, 1, 1), 1 / 3, np.float32))
        return mb.mul(x=mb.real_div(x=y, y=np.float32(7)), y=np.float32(21))

    after = transformed(build(make, (1, 1, 4)), FuseConvArithmetic(), DeadCode())
    weight = only(after, "conv").weight.constant.numpy()
    assert weight == np.float32(np.float64(np.float32(1 / 3)) / 7 * 21)


def test_constants_are_computed_when_they_are_read():
    """Converting reads no weight for folding it."""
    reads = []

    def produce():
        reads.append(1)
        return fill((6, 4, 3))

    def make(x):
        return batch_norm(mb.conv(x=x, weight=LazyData(fp32, (6, 4, 3), produce)), 6)

    program = build(make, (2, 4, 7))
    assert changed(program, FuseConvBatchNorm()) == ["fuse_conv_batch_norm"]
    assert reads == []
    run(program, random_inputs(program))
    assert reads == [1]


def test_text_of_a_folded_convolution():
    """Weight 2·3 = 6; bias (1 - 4)·3/√(8 + 1) + 5 with γ = 3·3."""

    def make(x):
        y = mb.conv(x=x, weight=np.full((1, 1, 1), 2, np.float32), bias=np.ones(1, np.float32), name="c")
        v = {name: np.array([number], np.float32) for name, number in (("mean", 4), ("variance", 8), ("beta", 5))}
        return mb.batch_norm(x=y, gamma=np.array([9], np.float32), epsilon=1.0, name="y", **v)

    after = transformed(build(make, (N, 1, 4)), FuseConvBatchNorm(), DeadCode(), sizes=S)
    conv = only(after, "conv")
    assert conv.weight.constant.numpy().tolist() == [[[6.0]]]
    assert conv.bias.constant.numpy().tolist() == [(1 - 4) * 3.0 + 5]


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda x: mb.mul(x=CONVS["plain"][1](x), y=fill((5,))), (2, 4, 7)),  # one for each column
        (lambda x: mb.mul(x=CONVS["plain"][1](x), y=fill((2, 1, 1))), (2, 4, 7)),  # one for each sample
        (lambda x: mb.add(x=CONVS["plain"][1](x), y=fill((1, 1, 6, 1))), (2, 4, 7)),  # the rank grows
        (lambda x: mb.real_div(x=1.0, y=CONVS["plain"][1](x)), (2, 4, 7)),
        (lambda x: mb.mul(x=CONVS["plain"][1](x), y=np.float32(np.inf)), (2, 4, 7)),
        (lambda x: mb.real_div(x=CONVS["plain"][1](x), y=0.0), (2, 4, 7)),
        (lambda x: mb.mul(x=CONVS["plain"][1](x), y=np.float32(1e-30)), (2, 4, 7)),
    ],
)
def test_other_constants_stay_apart(make, shape):
    assert changed(build(make, shape), FuseConvArithmetic()) == []


def test_a_zero_variance_without_epsilon_stays():
    def make(x):
        y = CONVS["plain"][1](x)
        return mb.batch_norm(x=y, mean=np.zeros(6, np.float32), variance=np.zeros(6, np.float32), epsilon=0.0)

    assert changed(build(make, (2, 4, 7)), FuseConvBatchNorm()) == []


def test_a_shared_weight_is_not_multiplied():
    """Two layers of one weight would become two weights; a bias is no reason not to fold."""

    def make(x):
        weight = mb.const(fill((6, 4, 3)))
        a, b = mb.conv(x=x, weight=weight), mb.conv(x=x, weight=weight)
        return mb.mul(x=a, y=2.0), mb.add(x=b, y=2.0)

    program = build(make, (2, 4, 7))
    after = transformed(program, FuseConvArithmetic(), DeadCode())
    assert ops(after) == ["conv", "mul", "conv"]


def test_a_weight_in_float16_is_not_rounded_again():
    """A bias in float16 joins: the sum of two is rounded once, as it was."""

    def make(x):
        y = mb.conv(x=x, weight=fill((6, 4, 3), dtype=np.float16))
        return mb.mul(x=y, y=np.float16(1.1)), mb.add(
            x=mb.conv(x=x, weight=fill((6, 4, 3), 8, dtype=np.float16)), y=np.float16(1.5)
        )

    after = transformed(build(make, (2, 4, 7), dtype=fp16), FuseConvArithmetic(), DeadCode())
    assert ops(after) == ["conv", "mul", "conv"]


def test_a_convolution_used_elsewhere_stays():
    def make(x):
        y = CONVS["plain"][1](x)
        return batch_norm(y, 6), mb.relu(x=y)

    assert changed(build(make, (2, 4, 7)), FuseConvBatchNorm()) == []


def test_a_weight_that_the_program_computes_stays():
    def make(x, y):
        return batch_norm(mb.conv(x=x, weight=y), 6)

    assert changed(build(make, (2, 4, 7), (6, 4, 3), opset=Opset.iOS17), FuseConvBatchNorm()) == []


# --- padding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "amounts"),
    [
        (lambda x: mb.conv(x=x, weight=fill((6, 4, 3, 3))), (1, 2, 3, 4)),
        (lambda x: mb.conv(x=x, weight=fill((6, 4, 3, 3)), pad_type="custom", pad=[1, 1, 0, 2]), (2, 3, 3, 6)),
        (lambda x: mb.avg_pool(x=x, kernel_sizes=[6, 7], pad_type="valid"), (1, 2, 3, 4)),
        (lambda x: mb.l2_pool(x=x, kernel_sizes=[6, 7], pad_type="valid"), (1, 2, 3, 4)),
    ],
)
def test_zeros_join_what_pads_by_zeros(make, amounts):
    program = build(lambda x: make(mb.pad(x=x, pad=[1, 2, 3, 4], mode="constant", constant_val=0.0)), (N, 4, 7, 8))
    after = transformed(program, FusePadding(), DeadCode(), sizes=S)
    (op_name,) = ops(after)
    assert only(after, op_name).pad_type == "custom"
    assert only(after, op_name).pad == amounts


def test_the_least_number_joins_max_pooling():
    def make(x, fill):
        padded = mb.pad(x=x, pad=[0, 0, 0, 0, 1, 1, 1, 1], mode="constant", constant_val=fill)
        return mb.max_pool(x=padded, kernel_sizes=[3, 3], pad_type="valid")

    program = build(lambda x: make(x, -np.inf), (N, 4, 7, 8))
    assert ops(transformed(program, FusePadding(), DeadCode(), sizes=S, ulp=0)) == ["max_pool"]
    assert changed(build(lambda x: make(x, 0.0), (2, 4, 7, 8)), FusePadding()) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda x: mb.conv(x=mb.pad(x=x, pad=[1, 1], mode="reflect"), weight=fill((6, 4, 3, 3))),
        lambda x: mb.conv(x=mb.pad(x=x, pad=[1, 1], constant_val=1.0), weight=fill((6, 4, 3, 3))),
        lambda x: mb.conv(x=mb.pad(x=x, pad=[1, -1]), weight=fill((6, 4, 3, 3))),
        lambda x: mb.conv(x=mb.pad(x=x, pad=[0, 1, 0, 0, 0, 0]), weight=fill((6, 5, 3, 3))),  # another channel
        lambda x: mb.conv(x=mb.pad(x=x, pad=[1, 1]), weight=fill((6, 4, 3, 3)), pad_type="same"),
        lambda x: mb.avg_pool(
            x=mb.pad(x=x, pad=[1, 1]), kernel_sizes=[3, 3], pad_type="valid", exclude_padding_from_average=True
        ),
        lambda x: mb.avg_pool(x=mb.pad(x=x, pad=[1, 1]), kernel_sizes=[3, 3], pad_type="valid", ceil_mode=True),
    ],
)
def test_other_padding_stays(make):
    assert changed(build(make, (2, 4, 7, 8)), FusePadding()) == []


def test_padding_by_amounts_that_the_program_computes_stays():
    def make(x, y):
        return mb.conv(x=mb.pad(x=x, pad=y), weight=fill((6, 4, 3, 3)))

    types = {"x": TensorType(fp32, (2, 4, 7, 8)), "y": TensorType(int32, (4,))}
    assert changed(build(make, types=types), FusePadding()) == []
