"""Types and constants of ML Programs, to and from the messages of the model format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from gristmill.errors import FormatError, IRError, UnsupportedError
from gristmill.ir import types
from gristmill.ir.constants import Array, ArrayData, BlobData, Constant, Data, Payload
from gristmill.ir.dims import Dim, unknown
from gristmill.ir.types import DictType, DType, ListType, StateType, TensorType, TupleType, Type, compatible
from gristmill.package import blob, proto
from gristmill.package.files import Tree
from gristmill.package.proto import Message

OpenDim: TypeAlias = Callable[[int], Dim]
"""Gives the dimension for an axis whose size a file does not state."""


def open_size(axis: int) -> Dim:
    """An ``OpenDim`` that knows nothing of the axis."""
    return unknown()


_LARGEST_DIM = (1 << 63) - 1  # what an index can count
_LARGEST_REPEATED = 128  # bytes of a type or a constant that is remembered

# Element type: its number in the format, and the field of TensorValue that carries it. A float16 has no field of its
# own and an 8-bit integer would waste one: both travel as bytes, as do types under a byte, packed as in a weight file.
_FORMAT: dict[DType, tuple[int, str]] = {
    types.bool_: (1, "bools"),
    types.string: (2, "strings"),
    types.fp16: (10, "bytes"),
    types.fp32: (11, "floats"),
    types.fp64: (12, "doubles"),
    types.int8: (21, "bytes"),
    types.int16: (22, "ints"),
    types.int32: (23, "ints"),
    types.int64: (24, "longInts"),
    types.int4: (25, "bytes"),
    types.uint8: (31, "bytes"),
    types.uint16: (32, "ints"),
    types.uint32: (33, "bytes"),
    types.uint64: (34, "longInts"),
    types.uint4: (35, "bytes"),
    types.uint2: (36, "bytes"),
    types.uint1: (37, "bytes"),
    types.uint6: (38, "bytes"),
    types.uint3: (39, "bytes"),
}
_DTYPE_OF = {number: dtype for dtype, (number, _) in _FORMAT.items()}
_NOT_OURS = {13: "bfloat16", 40: "float8e4m3fn", 41: "float8e5m2"}
_HELD_AS = {"ints": np.int32, "longInts": np.int64, "bools": np.bool_}
_RAW: dict[str, np.dtype[Any]] = {"floats": np.dtype("<f4"), "doubles": np.dtype("<f8")}


class Weights:
    """The weight files that a program's constants lie in.

    Args:
        tree: Files of the model.
        base: Folder of the tree that ``@model_path`` stands for.
        flat: The tree is a folder of weight files alone, whatever folders the program gives.
    """

    def __init__(self, tree: Tree | None = None, base: str = "", *, flat: bool = False) -> None:
        self.tree, self.base, self.flat = tree, base, flat
        self._readers: dict[str, blob.BlobReader] = {}

    def data(self, stated: str, offset: int, dtype: DType, shape: tuple[int, ...]) -> Data:
        """A tensor in a weight file, checked to be there, its contents unread.

        Raises:
            FormatError: There is no such file or blob, or it holds something else.
        """
        if stated not in self._readers:
            if self.tree is None:
                raise FormatError(
                    "a weight file is referred to, but the model is not a folder",
                    actual=stated[:200],
                    hint="MLModel(spec, weights_dir=…) says where the weights of a specification lie",
                )
            path = stated.rsplit("/", 1)[-1] if self.flat else stated.removeprefix("@model_path/")
            file = self.tree.find(self.base, path)
            self._readers[stated] = blob.BlobReader(file)
        reader = self._readers[stated]
        start = reader.check(offset, dtype, shape).start
        place = reader.file.place(start) if dtype.bits >= 8 else None
        return BlobData(dtype, shape, stated, offset, lambda: reader.read(offset, dtype, shape), place)


# --- types -----------------------------------------------------------------------------------------------------------


def read_type(spec: Message, open_dim: OpenDim) -> Type:
    """Decodes a ``ValueType``.

    Raises:
        FormatError: It is incomplete or contradicts itself.
        UnsupportedError: Programs here cannot have such a type.
    """
    wire = spec.SerializeToString()
    found = _static_type(wire) if len(wire) <= _LARGEST_REPEATED else None
    return found if found is not None else _read_type(spec, open_dim)


@lru_cache(maxsize=1024)
def _static_type(wire: bytes) -> TensorType | None:
    """A tensor's type without open dimensions, or ``None``. A program has few such types, but says them often."""
    found = _read_type(proto.parse("MILSpec.ValueType", wire), open_size)
    return found if isinstance(found, TensorType) and found.is_static else None


def _read_type(spec: Message, open_dim: OpenDim) -> Type:
    match spec.WhichOneof("type"):
        case "tensorType":
            return _read_tensor_type(spec.tensorType, open_dim)
        case "listType":
            length, known = 1, spec.listType.length.WhichOneof("dimension") == "constant"
            if known:
                length = _size(spec.listType.length)
            # The format does not tell a list that may grow from one that may not; ops that make lists let them grow.
            return ListType(read_type(spec.listType.type, open_dim), length, dynamic=True)
        case "tupleType":
            return TupleType(tuple(read_type(t, open_dim) for t in spec.tupleType.types))
        case "dictionaryType":
            pair = spec.dictionaryType
            return DictType(read_type(pair.keyType, open_dim), read_type(pair.valueType, open_dim))
        case "stateType":
            wrapped = read_type(spec.stateType.wrappedType, open_dim)
            if not isinstance(wrapped, TensorType):
                raise FormatError("a state holds a tensor", actual=wrapped)
            return StateType(wrapped)
    raise FormatError("a value has no type")


def _read_tensor_type(spec: Message, open_dim: OpenDim) -> TensorType:
    if spec.attributes:
        raise UnsupportedError(
            "tensor types with attributes are not supported", actual=", ".join(sorted(spec.attributes))
        )
    dtype = _DTYPE_OF.get(spec.dataType)
    if dtype is None:
        if spec.dataType in _NOT_OURS:
            raise UnsupportedError(f"tensors of type {_NOT_OURS[spec.dataType]} are not supported")
        raise FormatError("unknown element type", expected="a number of MILSpec.DataType", actual=spec.dataType)
    shape: list[Dim] = []
    variadic = False
    for axis, dim in enumerate(spec.dimensions):
        if dim.WhichOneof("dimension") == "constant":
            shape.append(_size(dim))
        else:
            variadic = variadic or dim.unknown.variadic
            shape.append(open_dim(axis))
    if spec.rank < 0 or variadic:
        raise UnsupportedError("tensors of unknown rank are not supported")
    if spec.rank != len(shape):
        raise FormatError("rank and dimensions disagree", expected=spec.rank, actual=len(shape))
    return TensorType(dtype, tuple(shape))


def _size(dim: Message) -> int:
    size = int(dim.constant.size)
    if size > _LARGEST_DIM:
        raise FormatError("a dimension is too large", expected=f"at most {_LARGEST_DIM}", actual=size)
    return size


def write_type(spec: Message, type: Type) -> None:
    """Encodes a type into a ``ValueType``.

    Raises:
        IRError: The type has no form in files: an untyped tensor.
    """
    match type:
        case TensorType():
            if type.dtype not in _FORMAT:
                raise IRError("an untyped tensor cannot be written", actual=type, hint="type the program first")
            spec.tensorType.dataType = _FORMAT[type.dtype][0]
            spec.tensorType.rank = type.rank
            for dim in type.shape:
                _write_dim(spec.tensorType.dimensions.add(), dim)
        case ListType():
            write_type(spec.listType.type, type.element)
            _write_dim(spec.listType.length, type.length)
        case TupleType():
            spec.tupleType.SetInParent()
            for element in type.elements:
                write_type(spec.tupleType.types.add(), element)
        case DictType():
            write_type(spec.dictionaryType.keyType, type.key)
            write_type(spec.dictionaryType.valueType, type.value)
        case StateType():
            write_type(spec.stateType.wrappedType, type.wrapped)


def _write_dim(spec: Message, dim: Dim) -> None:
    if isinstance(dim, int):
        spec.constant.size = dim
    else:
        spec.unknown.variadic = False


# --- constants -------------------------------------------------------------------------------------------------------


def read_value(spec: Message, weights: Weights) -> Constant:
    """Decodes a ``Value``. Tensors in weight files stay there until they are read.

    Raises:
        FormatError: Type and contents disagree, or the contents are not where they are said to be.
    """
    if spec.WhichOneof("value") == "immediateValue":
        wire = spec.SerializeToString()
        repeated = _small_tensor(wire) if len(wire) <= _LARGEST_REPEATED else None
        if repeated is not None:
            return repeated
    return _read_value(spec, weights)


@lru_cache(maxsize=1024)
def _small_tensor(wire: bytes) -> Constant | None:
    """A constant of a tensor type, or ``None``. Programs say the same few strides, axes and flags over and over."""
    spec = proto.parse("MILSpec.Value", wire)
    return _read_value(spec, Weights()) if spec.type.WhichOneof("type") == "tensorType" else None


def _read_value(spec: Message, weights: Weights) -> Constant:
    type = read_type(spec.type, open_size)
    if isinstance(type, TensorType) and not type.is_static:
        raise FormatError("a constant has a dimension of unknown size", actual=type)
    if spec.WhichOneof("value") == "blobFileValue":
        if not isinstance(type, TensorType):
            raise FormatError("only tensors lie in weight files", actual=type)
        place = spec.blobFileValue
        return Constant(type, weights.data(place.fileName, place.offset, type.dtype, static_shape(type)))
    content = spec.immediateValue
    kind = content.WhichOneof("value")
    match type, kind:
        case TensorType(), "tensor" | None:
            return Constant(type, _read_tensor(content.tensor, type))
        case ListType(), "list":
            elements = tuple(read_value(v, weights) for v in content.list.values)
            if not all(compatible(e.type, type.element) for e in elements) or len(elements) != type.length:
                raise FormatError("a list's elements do not fit its type", expected=type)
            return Constant(ListType(type.element, len(elements), dynamic=False), elements)
        case TupleType(), "tuple":
            elements = tuple(read_value(v, weights) for v in content.tuple.values)
            if not compatible(TupleType(tuple(e.type for e in elements)), type):
                raise FormatError("a tuple's elements do not fit its type", expected=type)
            return Constant(type, elements)
        case DictType(), "dictionary":
            pairs = tuple((read_value(p.key, weights), read_value(p.value, weights)) for p in content.dictionary.values)
            if not all(compatible(k.type, type.key) and compatible(v.type, type.value) for k, v in pairs):
                raise FormatError("a dictionary's entries do not fit its type", expected=type)
            return Constant(type, pairs)
    raise FormatError("a constant's contents do not fit its type", expected=type, actual=kind)


def static_shape(type: TensorType) -> tuple[int, ...]:
    """The shape of a constant's type, which has no unknown dimensions."""
    return tuple(d for d in type.shape if isinstance(d, int))


def _read_tensor(spec: Message, type: TensorType) -> Data:
    dtype, shape = type.dtype, static_shape(type)
    count = 1
    for dim in shape:
        count *= dim
    field = spec.WhichOneof("value")
    held: Array
    if field is None:
        held = np.empty(0, dtype.numpy)
    elif field == "bytes":
        held = _unpack(spec.bytes.values, dtype, count)
    elif field == "strings":
        held = np.array(spec.strings.values, dtype=object)
    elif field in _RAW:
        # The wire has these elements as they lie in memory. A Python float on the way would change a signalling NaN.
        content = getattr(spec, field)
        wire = content.SerializeToString()
        held = np.frombuffer(wire, _RAW[field], offset=len(wire) - len(content.values) * _RAW[field].itemsize)
        held = held.astype(dtype.numpy) if dtype.numpy == _RAW[field] else held
    else:
        values = getattr(spec, field).values
        held = np.fromiter(values, _HELD_AS[field], len(values))
    if held.size != count:
        raise FormatError("a constant's contents do not fill its shape", expected=f"{count} elements", actual=held.size)
    typed = _as_dtype(held, dtype)
    try:
        array = typed.reshape(shape)
    except ValueError as error:  # more dimensions, or larger ones beside a zero, than NumPy can have
        raise FormatError("a constant's shape is out of bounds", actual=type) from error
    array.flags.writeable = False  # equal constants share it
    return ArrayData(array, dtype)


def _unpack(data: bytes, dtype: DType, count: int) -> Array:
    if dtype.bits == 0 or dtype == types.bool_ or len(data) != blob.packed_size(count, dtype):
        raise FormatError(
            "a constant's bytes do not fit its type", expected=f"{count} × {dtype}", actual=f"{len(data)} bytes"
        )
    return blob.unpack(data, dtype, count)


def _as_dtype(held: Array, dtype: DType) -> Array:
    """Brings elements to the declared type where the field that carried them is wider, or of the other signedness."""
    if held.dtype == dtype.numpy:
        return held
    if held.dtype == np.int64 and dtype == types.uint64:
        return held.view(np.uint64)
    fits = held.dtype.kind == "i" and dtype.is_integer
    if not fits or (held.size and (int(held.min()) < dtype.min or int(held.max()) > dtype.max)):
        raise FormatError("a constant's contents do not fit its type", expected=dtype, actual=held.dtype)
    return held.astype(dtype.numpy)


Store: TypeAlias = Callable[[Constant], "tuple[str, int] | None"]
"""Puts a tensor into a weight file and says where, or declines."""


def write_value(spec: Message, constant: Constant, store: Store) -> None:
    """Encodes a constant into a ``Value``, its tensors through ``store`` or in place."""
    type = constant.type
    if isinstance(type, ListType):  # a literal has the length that it has, whatever it may grow to
        type = ListType(type.element, sum(1 for _ in _elements(constant.payload)), dynamic=False)
    write_type(spec.type, type)
    match type:
        case TensorType():
            place = store(constant)
            if place is None:
                _write_tensor(spec.immediateValue.tensor, constant.numpy(), type.dtype)
            else:
                spec.blobFileValue.fileName, spec.blobFileValue.offset = place
        case ListType():
            spec.immediateValue.list.SetInParent()
            for element in _elements(constant.payload):
                write_value(spec.immediateValue.list.values.add(), element, store)
        case TupleType():
            spec.immediateValue.tuple.SetInParent()
            for element in _elements(constant.payload):
                write_value(spec.immediateValue.tuple.values.add(), element, store)
        case DictType():
            spec.immediateValue.dictionary.SetInParent()
            for key, value in _pairs(constant.payload):
                entry = spec.immediateValue.dictionary.values.add()
                write_value(entry.key, key, store)
                write_value(entry.value, value, store)
        case StateType():
            raise IRError("a state is no constant", actual=constant.type)


def _elements(payload: Payload) -> Iterator[Constant]:
    assert isinstance(payload, tuple)
    for element in payload:
        assert isinstance(element, Constant)
        yield element


def _pairs(payload: Payload) -> Iterator[tuple[Constant, Constant]]:
    assert isinstance(payload, tuple)
    for pair in payload:
        assert isinstance(pair, tuple)
        yield pair


def _write_tensor(spec: Message, array: Array, dtype: DType) -> None:
    field = _FORMAT[dtype][1]
    target = getattr(spec, field)
    target.SetInParent()
    if field == "bytes":
        target.values = bytes(blob.pack(array, dtype))
    elif field in _RAW:
        raw = np.ascontiguousarray(array).astype(_RAW[field], copy=False).tobytes()
        target.MergeFromString(b"\x0a" + _varint(len(raw)) + raw)  # field 1, so many bytes, the elements
    elif dtype == types.uint64:
        target.values.extend(array.reshape(-1).view(np.int64).tolist())
    else:
        target.values.extend(array.reshape(-1).tolist())


def _varint(number: int) -> bytes:
    """Protobuf's encoding of a size: seven bits a byte, the lowest first, the top bit set on all but the last."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def text_value(spec: Message, text: str) -> None:
    """Encodes a string into a ``Value``."""
    write_type(spec.type, types.scalar(types.string))
    spec.immediateValue.tensor.strings.values.append(text)
