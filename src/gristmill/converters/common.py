"""What the converters of other libraries' models share."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from gristmill._version import __version__
from gristmill.errors import InputError, InputTypeError, MissingFileError, UnsupportedError
from gristmill.frontends.common import reading
from gristmill.models.model import MLModel
from gristmill.package.proto import Message


def finish(spec: Message, source: str) -> MLModel:
    """A converted model, with what made it in its metadata.

    Args:
        spec: The ``Model`` message.
        source: The library, and its version where that is known.
    """
    model = MLModel(spec)
    model.user_defined_metadata["com.gristmill.version"] = __version__
    model.user_defined_metadata["com.gristmill.source"] = source
    return model


def library(name: str) -> ModuleType:
    """A library, imported now.

    Args:
        name: Its name, or that of a module in it. The library's is also the name of the extra.

    Raises:
        UnsupportedError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        extra = name.partition(".")[0]
        raise UnsupportedError(
            f"converting this model needs {extra}", hint=f"pip install 'gristmill[{extra}]'"
        ) from error


def is_path(model: Any) -> bool:
    """Whether a model is given as a file's path."""
    return isinstance(model, str | os.PathLike)


def read_file(path: str | os.PathLike[str]) -> bytes:
    """A file's bytes.

    Raises:
        MissingFileError: There is no such file.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise MissingFileError("the model's file cannot be read", location=path, actual=error.strerror) from error


def parse_json(data: bytes, what: str) -> Any:
    """Decodes JSON.

    Raises:
        FormatError: It is none.
    """
    with reading(what):
        return json.loads(data)


def read_json(path: str | os.PathLike[str], what: str) -> Any:
    """Decodes a file of JSON; ``None`` where it begins like no object or list, as files of binary formats do.

    A binary format may begin with ``{`` too.

    Raises:
        MissingFileError: There is no such file.
        FormatError: It begins like JSON and is none.
    """
    data = read_file(path)
    start = data[:64].lstrip()
    if start[:1] == b"[" or (start[:1] == b"{" and start[1:].lstrip()[:1] in (b'"', b"")):
        return parse_json(data, what)
    return None


def not_fitted() -> InputError:
    """The error for an estimator that has learnt nothing."""
    return InputError("the model is not fitted", hint="call its fit first")


def unknown_model(model: Any, expected: str) -> InputTypeError:
    """The error for an object that is no model of the library."""
    return InputTypeError("this is no model that can be converted", expected=expected, actual=type(model).__name__)
