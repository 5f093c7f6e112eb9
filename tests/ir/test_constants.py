"""Constants: what Python and NumPy values become, lazy data, exactness of casts."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.errors import IRError
from gristmill.ir import types
from gristmill.ir.constants import (
    ArrayData,
    BlobData,
    CastData,
    Constant,
    LazyData,
    ReshapeData,
    TransposeData,
    constant,
    list_constant,
    same_constant,
    tuple_constant,
    wrapped,
)
from gristmill.ir.types import (
    DictType,
    ListType,
    TensorType,
    TupleType,
    bool_,
    fp16,
    fp32,
    fp64,
    int4,
    int8,
    int32,
    int64,
    scalar,
    string,
    uint3,
    uint8,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, scalar(int32)),
        (1.5, scalar(fp32)),
        (True, scalar(bool_)),
        ("a", scalar(string)),
        ([1, 2], TensorType(int32, (2,))),
        ([[1.0], [2]], TensorType(fp32, (2, 1))),
        ([], TensorType(fp32, (0,))),
        (("a", "bc"), TensorType(string, (2,))),
        (np.float64(1), scalar(fp64)),
        (np.arange(3), TensorType(int64, (3,))),
        (np.array(["x"]), TensorType(string, (1,))),
        ({"a": 1}, DictType(scalar(string), scalar(int32))),
        ({}, DictType(scalar(string), scalar(string))),
    ],
)
def test_types_of_values(value, expected):
    """Python numbers get Core ML's usual types, NumPy's keep their own."""
    assert constant(value).type == expected


def test_values_come_back():
    for value in (1, True, "é", [1, 2], [[1.5], [2.0]], {"a": [1, 2], "b": [3, 4]}, {}):
        assert constant(value).python() == value
    pair = tuple_constant((constant("a"), list_constant((constant(1), constant(2)), scalar(int32))))
    assert pair.python() == ("a", [1, 2])
    assert pair.type == TupleType((scalar(string), ListType(scalar(int32), 2, dynamic=False)))


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (2**31, None),
        (128, int8),
        (-1, uint8),
        (8, int4),
        (0.5, int32),
        (0.5, bool_),
        (2, bool_),
        ("a", fp32),
        (1, string),
        (None, None),
        (object(), None),
        ([1, None], None),
        (b"bytes", None),
        ([[1], [1, 2]], None),
        ({"a": 1, "b": "c"}, None),
        (1j, None),
    ],
)
def test_what_is_no_constant_is_refused(value, dtype):
    """Nothing is rounded, wrapped or guessed without being asked."""
    with pytest.raises(IRError):
        constant(value, dtype)


@pytest.mark.parametrize(("value", "dtype"), [(-8, int4), (7, uint3), (1, bool_), (2**64 - 1, types.uint64)])
def test_extremes_of_types_fit(value, dtype):
    assert constant(value, dtype).python() == value


def nearest_half(exact: Fraction) -> Fraction:
    """Round to nearest even in float16's normal range, from the definition."""
    exponent = 0
    while abs(exact) >= 2 ** (exponent + 1):
        exponent += 1
    while abs(exact) < Fraction(2) ** exponent:
        exponent -= 1
    step = Fraction(2) ** (max(exponent, -14) - 10)
    return round(exact / step) * step  # Python rounds halves to even


@given(st.floats(2**-14, 60000) | st.floats(-60000, -(2**-14)))
def test_a_cast_rounds_once_to_nearest_even(value):
    data = CastData(ArrayData(np.array([value])), fp16)
    assert Fraction(float(data.read()[0])) == nearest_half(Fraction(value))


def test_a_cast_does_not_round_twice():
    """1 + 2⁻¹¹ + 2⁻⁴⁰ is above the middle of two halves; by way of float32 it would be the middle and go down."""
    data = CastData(ArrayData(np.array([1 + 2**-11 + 2**-40])), fp16)
    assert data.read()[0] == np.float16(1 + 2**-10)


@given(st.integers(-128, 127), st.sampled_from([t for t in types.INTEGERS if t.bits <= 8]))
def test_casts_of_integers_wrap(value, dtype):
    """Modulo 2ⁿ, in types under a byte too."""
    (found,) = CastData(ArrayData(np.array([value], np.int8)), dtype).read().tolist()
    assert dtype.min <= found <= dtype.max
    assert (found - value) % 2**dtype.bits == 0


def test_casts_of_integers_do_not_pass_through_floats():
    big = np.array([2**63 - 1, -(2**63), 2**53 + 1], np.int64)
    np.testing.assert_array_equal(
        CastData(ArrayData(big), types.uint64).read(), np.array([2**63 - 1, 2**63, 2**53 + 1], np.uint64)
    )
    assert wrapped(np.array([200], np.uint8), uint8)[0] == 200


def test_lazy_expressions():
    """Transpose, reshape and cast of contents that are made when they are read, and each time anew."""
    reads = []

    def produce():
        reads.append(1)
        return np.arange(6, dtype=np.float32).reshape(2, 3)

    lazy = LazyData(fp32, (2, 3), produce)
    data = CastData(ReshapeData(TransposeData(lazy, (1, 0)), (6, 1)), fp16)
    assert (data.dtype, data.shape, data.size, reads) == (fp16, (6, 1), 6, [])
    np.testing.assert_array_equal(data.read(), np.array([[0], [3], [1], [4], [2], [5]], np.float16))
    data.read()
    assert len(reads) == 2


def test_what_ops_read_of_a_constant_is_kept():
    """Parameters as what cannot be changed; contents for shape arithmetic of small integers alone."""
    ints, floats = constant([3, -1]), constant(0.5)
    assert ints.parameter == (3, -1)
    assert ints.parameter is ints.parameter
    assert ints.python() == [3, -1]
    assert floats.parameter == 0.5
    assert constant("valid").parameter == "valid"
    assert ints.contents is not None
    assert ints.contents.tolist() == [3, -1]
    assert ints.contents is ints.contents
    assert ints.contents.dtype == object
    assert type(ints.contents[0]) is int
    assert constant([True]).contents is not None
    assert floats.contents is None
    assert constant("a").contents is None
    assert constant(np.zeros(257, np.int32)).contents is None
    assert (
        Constant(TensorType(int32, (2,)), BlobData(int32, (2,), "weight.bin", 64)).contents is None
    )  # no file at hand


@pytest.mark.parametrize("produced", [np.zeros((3, 2), np.float32), np.zeros((2, 3), np.float64)])
def test_lazy_contents_are_checked(produced):
    with pytest.raises(IRError, match=r"the weights\) came out differently"):
        LazyData(fp32, (2, 3), lambda: produced, "the weights").read()


def test_expressions_are_checked_when_they_are_made():
    data = ArrayData(np.zeros((2, 3), np.float32))
    for wrong in ((0,), (0, 0), (0, 2), (-1, 0)):
        with pytest.raises(IRError, match="permutation"):
            TransposeData(data, wrong)
    for wrong in ((5,), (2, -3), (7, 1)):
        with pytest.raises(IRError, match="number of elements"):
            ReshapeData(data, wrong)
    with pytest.raises(IRError, match="element type"):
        ArrayData(np.zeros(2, np.float32), fp16)


def test_weight_files():
    """A reference without its file can be made and looked at, but not read."""
    blob = BlobData(fp16, (10**9,), "weights/weight.bin", 64)
    assert not blob.readable
    with pytest.raises(IRError, match="not at hand"):
        blob.read()
    assert BlobData(fp16, (1,), "w", 64, lambda: np.ones(1, np.float16)).read().tolist() == [1]


def test_same_constant_compares_bits():
    nan = np.array([np.nan], np.float32)
    assert same_constant(constant(nan), constant(nan.copy()))
    assert not same_constant(constant(np.float32(0.0)), constant(np.float32(-0.0)))
    assert not same_constant(constant(np.float32(1)), constant(np.float16(1)))
    assert same_constant(constant({"a": "b"}), constant({"a": "b"}))
    assert not same_constant(constant({"a": "b"}), constant({"a": "c"}))
    assert not same_constant(constant(["a"]), constant(["b"]))
    one, two = constant(1), constant(2)
    assert same_constant(tuple_constant((one, two)), tuple_constant((constant(1), constant(2))))
    assert not same_constant(tuple_constant((one, two)), tuple_constant((two, one)))


def test_only_tensors_have_data():
    with pytest.raises(IRError, match="not a tensor constant"):
        constant({"a": 1}).numpy()
