"""Protobuf messages of the model format, from a descriptor pool of their own.

coremltools registers messages of the same full names in protobuf's default pool; a private pool keeps the two apart, so
both packages can be imported in one process in either order. Messages are built from a compiled description of the
schema (``schema/schema.binpb``) by whatever protobuf is installed, so no generated code is tied to a version.

This is the one place where messages lose their types: everything made here is ``Any`` to a type checker.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.internal import enum_type_wrapper
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as _Message
from google.protobuf.reflection import GeneratedProtocolMessageType

from gristmill.errors import FormatError

Message: TypeAlias = Any
"""A message of the model format. Its fields come from the schema at run time, which a type checker cannot see."""

PACKAGE = "CoreML.Specification"


@cache
def pool() -> descriptor_pool.DescriptorPool:
    """The schema's descriptors."""
    made = descriptor_pool.DescriptorPool()
    for file in _schema_files(Path(__file__).with_name("schema").joinpath("schema.binpb").read_bytes()):
        made.AddSerializedFile(file)
    return made


def _schema_files(data: bytes) -> Iterator[bytes]:
    """The files in a ``FileDescriptorSet``, which is field 1 over and over. protobuf's class for it loads slowly."""
    at = 0
    while at < len(data):
        size, shift, more = 0, 0, True
        while more:
            at += 1
            size |= (data[at] & 127) << shift
            shift, more = shift + 7, data[at] > 127
        at += 1
        yield data[at : at + size]
        at += size


def _descriptor(name: str) -> Any:
    return pool().FindMessageTypeByName(f"{PACKAGE}.{name}")


@cache
def _model() -> Any:
    """The class of models, without the classes of its fields.

    protobuf makes these when they are touched, and a model touches few of the 390; to make them all, as its factory
    does, takes ten times as long as to decode a model.
    """
    descriptor = _descriptor("Model")
    if isinstance(pool(), descriptor_pool.DescriptorPool):  # protobuf in pure Python, which makes none by itself
        return message_factory.GetMessageClass(descriptor)
    return GeneratedProtocolMessageType("Model", (_Message,), {"DESCRIPTOR": descriptor, "__module__": None})


@cache
def message(name: str) -> Any:
    """Returns a message class of the schema.

    Args:
        name: Its name inside ``CoreML.Specification``, such as ``"Model"`` or ``"MILSpec.Program"``.

    Raises:
        KeyError: The schema has no such message.
    """
    model = _model()  # before any other, which might refer to it, as a pipeline does
    return model if name == "Model" else message_factory.GetMessageClass(_descriptor(name))


@cache
def enum(name: str) -> Any:
    """Returns an enumeration of the schema as a wrapper with ``Name(number)`` and ``Value(name)``."""
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
