"""Types and shapes of arithmetic: broadcasting, products, reductions, and dimensions that the program computes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.errors import TypeInferenceError
from gristmill.ir import registry
from gristmill.ir.builder import mb
from gristmill.ir.dims import DimExpr, symbol
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp16, fp32, int32

N = symbol("n", 1)


def infer(op, opset=Opset.iOS17, **operands):
    """The results' types; operands that are types become inputs."""
    types = {name: given for name, given in operands.items() if isinstance(given, TensorType)}
    with mb.function(Program(), "main", types, opset) as values:
        result = mb.op(op, **{**operands, **dict(zip(types, values, strict=True))})
    return result.type


def contents(op, **operands):
    """What inference knows of the elements of an op on the shape [2, n, 6] of a tensor, and on constants."""
    with mb.function(Program(), "main", {"t": TensorType(fp32, (2, N, 6))}, Opset.iOS17) as (tensor,):
        shape = mb.shape(x=tensor)
        given = {k: shape if v is ... else np.asarray(v, np.int32) if k == "y" else v for k, v in operands.items()}
        return mb.op(op, **given).contents


def evaluated(elements, n):
    return [d.evaluate({"n": n}) if isinstance(d, DimExpr) else d for d in elements.ravel()]


shapes = st.lists(st.sampled_from([1, 1, 2, 3]), max_size=4).map(tuple)


@given(shapes, shapes)
def test_binary_ops_broadcast_as_numpy_does(a, b):
    """The inferred shape is NumPy's, and what NumPy refuses is refused."""
    try:
        wanted = np.broadcast_shapes(a, b)
    except ValueError:
        with pytest.raises(TypeInferenceError, match="do not broadcast"):
            infer("add", x=TensorType(fp32, a), y=TensorType(fp32, b))
        return
    assert infer("add", x=TensorType(fp32, a), y=TensorType(fp32, b)) == TensorType(fp32, wanted)
    assert infer("less", x=TensorType(fp32, a), y=TensorType(fp32, b)).shape == wanted


@given(shapes, shapes, st.booleans(), st.booleans())
def test_matmul_has_the_shape_that_numpy_gives(a, b, transpose_x, transpose_y):
    x, y = np.zeros(a), np.zeros(b)
    x = x.swapaxes(-1, -2) if transpose_x and x.ndim > 1 else x
    y = y.swapaxes(-1, -2) if transpose_y and y.ndim > 1 else y
    operands = {
        "x": TensorType(fp32, a),
        "y": TensorType(fp32, b),
        "transpose_x": transpose_x,
        "transpose_y": transpose_y,
    }
    try:
        wanted = np.matmul(x, y).shape
    except ValueError:
        with pytest.raises(TypeInferenceError):
            infer("matmul", **operands)
        return
    assert infer("matmul", **operands).shape == wanted


@given(shapes, st.lists(st.integers(-4, 3), max_size=3), st.booleans())
def test_reductions_have_the_shape_that_numpy_gives(shape, axes, keep):
    try:
        wanted = np.sum(np.zeros(shape), axis=tuple(axes), keepdims=keep).shape
    except ValueError:
        with pytest.raises(TypeInferenceError):
            infer("reduce_sum", x=TensorType(fp32, shape), axes=axes, keep_dims=keep)
        return
    assert infer("reduce_sum", x=TensorType(fp32, shape), axes=axes, keep_dims=keep).shape == wanted


def test_unknown_dimensions_go_through():
    """The symbol stays the same symbol in the results."""
    x = TensorType(fp16, (2, N, 6))
    assert infer("softmax", x=x) == x
    assert infer("matmul", x=x, y=x, transpose_y=True).shape == (2, N, N)
    assert infer("linear", x=x, weight=np.zeros((3, 6), np.float16)).shape == (2, N, 3)
    assert infer("reduce_max", x=x, axes=(0, -1)).shape == (N,)
    assert infer("scaled_dot_product_attention", Opset.iOS18, query=x, key=x, value=x) == x


@pytest.mark.parametrize(
    ("op", "y", "by_python"),
    [
        ("add", 3, lambda a, b: a + b),
        ("sub", 3, lambda a, b: a - b),
        ("mul", -2, lambda a, b: a * b),
        ("floor_div", 4, lambda a, b: a // b),
        ("real_div", 4, lambda a, b: a // b),
        ("mod", 4, lambda a, b: a % b),
        ("maximum", 4, max),
        ("minimum", 4, min),
    ],
)
@given(n=st.integers(1, 40))
def test_computed_dimensions_are_followed(op, y, by_python, n):
    """For every n the expressions have the value that Python's arithmetic gives."""
    assert evaluated(contents(op, x=..., y=y), n) == [by_python(d, y) for d in (2, n, 6)]


@given(n=st.integers(1, 40))
def test_reductions_of_shapes_are_followed(n):
    assert evaluated(contents("reduce_prod", x=...), n) == [12 * n]
    assert evaluated(contents("reduce_sum", x=...), n) == [8 + n]
    assert evaluated(contents("reduce_max", x=..., keep_dims=True), n) == [max(6, n)]
    assert evaluated(contents("reduce_min", x=...), n) == [min(2, n)]


def test_comparisons_of_dimensions_only_where_they_are_certain():
    """The symbol n is at least 1: that it is above 0 is known, whether it is 6 is not."""
    assert contents("greater", x=..., y=0).tolist() == [True, True, True]
    assert contents("not_equal", x=..., y=0).tolist() == [True, True, True]
    assert contents("equal", x=..., y=6) is None
    assert contents("less", x=..., y=6) is None
    assert contents("floor_div", x=..., y=0) is None
    assert contents("cast", x=..., dtype="bool").tolist() == [True, True, True]
    assert contents("cast", x=..., dtype="fp32") is None
    with mb.function(Program(), "main", {"t": TensorType(fp32, (2, N))}, Opset.iOS17) as (tensor,):
        positive = mb.greater(x=mb.shape(x=tensor), y=0)
        assert mb.logical_and(x=positive, y=mb.logical_not(x=positive)).contents.tolist() == [False, False]


def test_known_integers_wrap_in_narrower_types():
    """What is followed through a cast is what the cast gives at run time."""
    with mb.function(Program(), "main", {"t": TensorType(fp32, (N, 300))}, Opset.iOS17) as (tensor,):
        assert mb.cast(x=mb.shape(x=tensor), dtype="int8").contents.tolist() == [N, 44]


F32 = TensorType(fp32, (2, 3, 4))


@pytest.mark.parametrize(
    ("op", "operands", "message"),
    [
        ("add", {"x": F32, "y": TensorType(fp16, (2, 3, 4))}, "one element type"),
        ("add", {"x": F32, "y": TensorType(int32, ())}, "one element type"),
        ("batch_norm", {"x": F32, "mean": np.zeros(4), "variance": np.ones(4)}, "shape of 'mean'"),
        ("cast", {"x": F32, "dtype": "int64"}, "unknown target type"),
        ("clip", {"x": F32, "alpha": 1.0, "beta": 0.0}, "bounds"),
        ("einsum", {"values": [], "equation": "nchw,nwhu->nchu"}, "operands of the equation"),
        ("gelu", {"x": F32, "mode": "FAST"}, "unknown value"),
        ("instance_norm", {"x": TensorType(fp32, (2, 3))}, "rank of 'x'"),
        ("layer_norm", {"x": F32, "axes": (1,), "gamma": np.zeros(4)}, "shape of 'gamma'"),
        ("linear", {"x": F32, "weight": np.zeros((5, 3))}, "last dimension"),
        ("matmul", {"x": F32, "y": F32}, "inner dimensions"),
        ("matmul", {"x": F32, "y": TensorType(fp16, (4, 5))}, "element types"),
        ("prelu", {"x": F32, "alpha": np.zeros(2)}, "length of 'alpha'"),
        ("quantize", {"input": F32, "scale": np.ones(3), "output_dtype": "int8"}, "'axis'"),
        ("random_uniform", {"shape": [2], "low": np.float16(0), "high": np.float32(1)}, "types of low, high"),
        ("reduce_argmax", {"x": F32, "axis": 3}, "no such axis"),
        ("reduce_sum", {"x": F32, "axes": (1, -2)}, "twice"),
        ("softmax", {"x": F32, "axis": 3}, "no such axis"),
    ],
    ids=lambda value: value if isinstance(value, str) and "_" in value else None,
)
def test_what_does_not_fit_is_refused(op, operands, message):
    """The error names the op and says what was expected."""
    operands = {k: v.astype(np.float32) if isinstance(v, np.ndarray) else v for k, v in operands.items()}
    with pytest.raises(TypeInferenceError, match=message) as caught:
        infer(op, **operands)
    assert op in str(caught.value)
    assert "expected" in str(caught.value)


def test_ops_of_later_releases_are_refused_before():
    """The error says which opsets have the op."""
    with pytest.raises(TypeInferenceError, match="not in this opset"):
        infer("quantize", Opset.iOS16, input=F32, scale=np.float32(1), output_dtype="int8")
    assert registry.lookup("quantize", Opset.iOS17).since == Opset.iOS17


def test_numbers_take_the_type_of_the_arrays_beside_them():
    """From iOS17 on the parameters have a type of their own; a Python number among them follows the arrays."""
    with mb.function(Program(), "main", {"x": F32}, Opset.iOS17) as (x,):
        result = mb.layer_norm(x=x, axes=(-1,), gamma=np.ones(4, np.float16), epsilon=0.5)
    assert result.producer.operand("epsilon").dtype == fp16
