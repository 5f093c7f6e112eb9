"""Protobuf messages of the model format, from a descriptor pool of their own.

coremltools registers messages of the same full names in protobuf's default pool; a private pool keeps the two apart, so
both packages can be imported in one process in either order. Messages are built from a compiled description of the
schema (``schema/schema.binpb``) by whatever protobuf is installed, so no generated code is tied to a version.

This is the one place where messages lose their types: everything made here is ``Any`` to a type checker.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from gristmill.errors import FormatError

if TYPE_CHECKING:
    from google.protobuf.message import Message as _Message

Message: TypeAlias = Any
"""A message of the model format. Its fields come from the schema at run time, which a type checker cannot see."""

PACKAGE = "CoreML.Specification"


@cache
def pool() -> descriptor_pool.DescriptorPool:
    """The schema's descriptors."""
    data = (resources.files("gristmill.package") / "schema" / "schema.binpb").read_bytes()
    made = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(data).file:
        made.Add(file)
    return made


@cache
def message(name: str) -> Any:
    """Returns a message class of the schema.

    Args:
        name: Its name inside ``CoreML.Specification``, such as ``"Model"`` or ``"MILSpec.Program"``.

    Raises:
        KeyError: The schema has no such message.
    """
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(f"{PACKAGE}.{name}"))


@cache
def enum(name: str) -> Any:
    """Returns an enumeration of the schema as a wrapper with ``Name(number)`` and ``Value(name)``."""
    from google.protobuf.internal import enum_type_wrapper

    return enum_type_wrapper.EnumTypeWrapper(pool().FindEnumTypeByName(f"{PACKAGE}.{name}"))


def is_repeated(field: Any) -> bool:
    """Whether a field, by its descriptor, is a list; protobuf renamed the question in its version 6."""
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED)


def parse(name: str, data: bytes, location: object = None) -> Message:
    """Decodes a message.

    Args:
        name: The message's name, as for `message`.
        data: Its wire format.
        location: The file that it comes from, for errors.

    Raises:
        FormatError: The bytes are not such a message: truncated, corrupted, or nested deeper than protobuf's limit
            of 100 levels.
    """
    result = message(name)()
    try:
        result.MergeFromString(data)
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:  # protobuf in pure Python raises the latter two
        raise FormatError(
            "the file is not a Core ML model specification, or it is truncated or corrupted",
            location=location,
            expected=f"a {PACKAGE}.{name} message in protobuf's wire format",
            actual=f"{len(data)} bytes that fail to decode ({error})",
        ) from error
    return result


def serialize(value: _Message) -> bytes:
    """Encodes a message, map entries in the order of their keys, so that equal messages give equal bytes."""
    return value.SerializeToString(deterministic=True)
