"""Types: identity, text, compatibility, element types."""

import copy
import pickle

import numpy as np
import pytest

from gristmill.errors import DimError, IRError
from gristmill.ir import dims, types
from gristmill.ir.types import (
    DTYPES,
    DictType,
    ListType,
    StateType,
    TensorType,
    TupleType,
    bool_,
    compatible,
    dtype_of,
    fp16,
    fp32,
    int4,
    int32,
    same_shape,
    scalar,
    string,
    uint3,
    uint8,
)

N, M = dims.symbol("n"), dims.symbol("m", 2, 4)


def test_equal_types_are_the_same_key():
    """Types are values: a list and a tuple of the same sizes make the same one."""
    assert TensorType(fp32, (1, N)) == TensorType(fp32, [1, dims.symbol("n")])
    assert len({TensorType(fp32, (1, N)), TensorType(fp32, [1, N]), TensorType(fp16, (1, N))}) == 2
    assert StateType(TensorType(fp16, (2,))) != TensorType(fp16, (2,))


def test_a_copied_element_type_is_the_same_object():
    """Element types compare as objects, so copying and pickling must not make others."""
    for dtype in DTYPES.values():
        assert copy.deepcopy(dtype) is dtype
        assert pickle.loads(pickle.dumps(dtype)) is dtype
    assert pickle.loads(pickle.dumps(TensorType(fp16, (2,)))) == TensorType(fp16, (2,))


def test_text():
    shapes = DictType(scalar(string), TensorType(int32, (N,)))
    assert str(TensorType(fp32)) == "tensor<fp32, []>"
    assert str(TupleType((ListType(shapes), StateType(TensorType(fp16, (2 * N,)))))) == (
        "tuple<list<dict<tensor<string, []>, tensor<int32, [n]>>, ?>, state<tensor<fp16, [2*n]>>>"
    )
    assert str(ListType(TensorType(bool_), 3, dynamic=False)) == "list<tensor<bool, []>, 3>"


@pytest.mark.parametrize("dim", [-1, 1.0, True, "n", None, np.float32(2)])
def test_a_dimension_is_a_size(dim):
    with pytest.raises(IRError, match="a dimension"):
        TensorType(fp32, (dim,))


def test_ranges_of_integer_types():
    """Worked out from two's complement."""
    assert (int4.min, int4.max, uint3.min, uint3.max) == (-8, 7, 0, 7)
    assert (types.int64.min, types.int64.max, types.uint64.max) == (-(2**63), 2**63 - 1, 2**64 - 1)
    for dtype in DTYPES.values():
        if dtype.is_integer and dtype.bits >= 8:
            info = np.iinfo(dtype.numpy)
            assert (dtype.min, dtype.max, dtype.bits) == (info.min, info.max, info.bits)


def test_element_types_of_numpy():
    for dtype in (fp16, fp32, types.fp64, types.int8, types.uint16, types.uint64, bool_):
        assert dtype_of(dtype.numpy) == dtype
    assert dtype_of(np.dtype("U3")) == dtype_of(object) == string
    assert dtype_of(np.dtype(">f4").newbyteorder("=")) == fp32
    for missing in (np.complex64, np.longdouble, "datetime64[s]"):
        with pytest.raises(IRError, match="no such element type"):
            dtype_of(missing)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (TensorType(fp32, (1, 2)), TensorType(fp32, (1, 2)), True),
        (TensorType(fp32, (1, 2)), TensorType(fp32, (1, 3)), False),
        (TensorType(fp32, (1, 2)), TensorType(fp32, (1, 2, 1)), False),
        (TensorType(fp32, (1,)), TensorType(fp16, (1,)), False),
        (TensorType(fp32, (N,)), TensorType(fp32, (7,)), True),
        (TensorType(fp32, (M,)), TensorType(fp32, (7,)), False),  # beyond its bounds
        (TensorType(fp32, (N,)), TensorType(fp32, (N + 1,)), False),
        (TensorType(fp32, (N,)), TensorType(fp32, (M,)), True),
        (TensorType(fp32), StateType(TensorType(fp32)), False),
        (StateType(TensorType(fp32, (N,))), StateType(TensorType(fp32, (1,))), True),
        (ListType(TensorType(fp32), 2, dynamic=False), ListType(TensorType(fp32), 3, dynamic=False), False),
        (ListType(TensorType(fp32), 2, dynamic=False), ListType(TensorType(fp32), 3), True),
        (ListType(TensorType(fp32)), ListType(TensorType(fp16)), False),
        (TupleType((scalar(fp32),)), TupleType((scalar(fp32),) * 2), False),
        (TupleType((scalar(fp32),)), TupleType((scalar(fp32),)), True),
        (DictType(scalar(string), scalar(fp32)), DictType(scalar(string), scalar(fp32)), True),
        (DictType(scalar(string), scalar(fp32)), DictType(scalar(int32), scalar(fp32)), False),
    ],
)
def test_compatible(a, b, expected):
    """Whether one value can have both types; it does not matter which is asked first."""
    assert compatible(a, b) is expected
    assert compatible(b, a) is expected


def test_shapes():
    assert TensorType(uint8, (1, 2)).is_static
    assert not TensorType(uint8, (1, N)).is_static
    assert same_shape((2 * N, 3), (N + N, 3))
    assert not same_shape((N,), (M,))
    assert not same_shape((1,), (1, 1))
    assert TensorType(uint8, (1,)).with_shape([N]).with_dtype(fp16) == TensorType(fp16, (N,))


def test_a_contradiction_of_bounds_is_refused():
    with pytest.raises(DimError):
        dims.symbol("bad", 3, 2)
