"""From plain Python objects to the messages of a neural network: the way back of ``network_reader``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gristmill.errors import GristmillError, InputError, InputTypeError
from gristmill.ir.constants import Array
from gristmill.package.proto import Message, is_repeated

_BYTES = 2  # protobuf's wire type of packed numbers


def fill(message: Message, fields: Mapping[str, Any]) -> None:
    """Sets fields of a message.

    Args:
        message: Any message.
        fields: Values by the fields' names. An enumeration's value is a name, in either case of letters; a list's is
            anything that has elements, a map's a mapping; a message's is a mapping of its fields, or such a message,
            which is copied; that of weights may be an array, which becomes float32. What is ``None`` stays unset.

    Raises:
        InputError: An enumeration has no such name.
        InputTypeError: A field is of another type.
    """
    for name, value in fields.items():
        if value is None:
            continue
        field = message.DESCRIPTOR.fields_by_name[name]
        try:
            _set(message, field, value)
        except GristmillError:
            raise
        except (TypeError, ValueError) as error:
            raise InputTypeError(f"'{name}' takes other values", expected=str(error), actual=value) from error


def _set(message: Message, field: Any, value: Any) -> None:
    if field.enum_type is not None:
        setattr(message, field.name, _number(field.enum_type, field.name, value))
    elif field.message_type is not None and field.message_type.GetOptions().map_entry:
        for key, item in value.items():
            _put(getattr(message, field.name)[key], item)
    elif is_repeated(field) and field.message_type is not None:
        for item in value:
            _put(getattr(message, field.name).add(), item)
    elif is_repeated(field):
        boolean = field.cpp_type == field.CPPTYPE_BOOL
        getattr(message, field.name).extend(bool(item) if boolean else item for item in value)
    elif field.message_type is not None:
        _put(getattr(message, field.name), value)
    else:
        setattr(message, field.name, bool(value) if field.cpp_type == field.CPPTYPE_BOOL else value)


def _put(message: Message, value: Any) -> None:
    """Sets a whole message."""
    message.SetInParent()
    if isinstance(value, Mapping):
        fill(message, value)
    elif isinstance(value, np.ndarray):
        write_floats(message, value)
    elif getattr(value, "DESCRIPTOR", None) is None or value.DESCRIPTOR.full_name != message.DESCRIPTOR.full_name:
        raise InputTypeError("another message", expected=message.DESCRIPTOR.full_name, actual=type(value).__name__)
    else:
        message.MergeFromString(value.SerializeToString())  # so that messages of another package's classes do as well


def _number(enumeration: Any, name: str, value: Any) -> int:
    known = enumeration.values_by_name.get(str(value).upper())
    if known is None:
        raise InputError(f"unknown '{name}'", expected=", ".join(enumeration.values_by_name), actual=value)
    return int(known.number)


def write_floats(message: Message, numbers: ArrayLike, field: str = "floatValue") -> None:
    """Appends numbers to a list of float32 in a message, in row-major order.

    They go in as the bytes of the format: a list of Python's floats would need many times their memory.

    Args:
        message: For instance ``WeightParams``.
        numbers: Of any floating type, rounded to float32; too large ones become infinite, as in NumPy.
        field: The list's name.
    """
    with np.errstate(over="ignore"):
        data = np.asarray(numbers).astype("<f4").tobytes()
    number = message.DESCRIPTOR.fields_by_name[field].number
    message.MergeFromString(_varint(number << 3 | _BYTES) + _varint(len(data)) + data)


def pack_codes(codes: Array, bits: int) -> bytes:
    """Integers of 1 to 8 bits one after the other, the highest bit first; zeros fill the last byte."""
    each = np.unpackbits(codes.reshape(-1, 1).astype(np.uint8), axis=1)[:, 8 - bits :]
    return np.packbits(each).tobytes()


def _varint(number: int) -> bytes:
    """A number in protobuf's own form: seven bits in each byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
