"""The schema as protoc's Python modules show it: one module a file, with its messages, enumerations and their values.

There is no generated code behind them: a name is looked up in the private pool when it is first used.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message_factory import GetMessageClass

from gristmill.package.proto import pool


def modules(package: str) -> dict[str, ModuleType]:
    """A module for each file of the schema, by its name in the package.

    Args:
        package: The Python package that they are to belong to.
    """
    files = {file.name: file for file in _with_imports(pool().FindFileByName("Model.proto"))}
    names = {f"{name.removesuffix('.proto')}_pb2": file for name, file in files.items()}
    return {name: _Module(f"{package}.{name}", file) for name, file in names.items()}


class _Module(ModuleType):
    """What protoc makes of one file and of those that it imports publicly."""

    def __init__(self, name: str, file: Any) -> None:
        super().__init__(name, f"Messages of the model format that {file.name} defines.")
        self.DESCRIPTOR = file
        self._makers = {name: make for each in _with_imports(file) for name, make in _contents(each).items()}
        self.__all__ = list(self._makers)

    def __getattr__(self, name: str) -> Any:
        make = self.__dict__.get("_makers", {}).get(name)
        if make is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)
        value = make()
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted(self.__all__)


def _with_imports(file: Any) -> list[Any]:
    """A file after all that it imports publicly, which is all that it imports."""
    imported = [each for one in file.public_dependencies for each in _with_imports(one)]
    return [*imported, file]


def _contents(file: Any) -> dict[str, Callable[[], Any]]:
    """What makes each name of a file: a message's class, an enumeration, or the number of one of its values."""
    found: dict[str, Callable[[], Any]] = {
        name: partial(GetMessageClass, descriptor) for name, descriptor in file.message_types_by_name.items()
    }
    for name, enum in file.enum_types_by_name.items():
        found[name] = partial(EnumTypeWrapper, enum)
        found |= {value.name: partial(int, value.number) for value in enum.values}
    return found
