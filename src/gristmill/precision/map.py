"""A choice of precision op by op that can be saved, edited and used again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from gristmill.errors import FormatError, InputError, MissingFileError
from gristmill.ir.builtin import const
from gristmill.ir.op import Op
from gristmill.ir.program import Program

Choice: TypeAlias = Literal["float16", "float32"]

_VERSION = 1


class PrecisionMap:
    """Which ops become float16 and which stay float32.

    A map is an ``op_selector``: ``FP16ComputePrecision(op_selector=map)``. As ``compute_precision=map`` it also applies
    its rewrites. Of the rules that fit an op the most special counts: its name, then a pattern of its name, then a
    pattern of its place in the source, then its type, then the default. Of several patterns the last one counts.

    Args:
        names: By the op's name; ``*``, ``?`` and ``[…]`` make a pattern of it.
        modules: By the path of the module in the source model that an op comes from, such as ``encoder.layers.0``, or a
            pattern of it; a path stands for the modules below it too.
        op_types: By the op's type, such as ``softmax``.
        default: For all others.
        rewrites: Passes that keep numbers in float16's range, by name, each with the names of the ops where it is to
            be applied; ``None`` for everywhere.

    Raises:
        InputError: A choice is neither ``float16`` nor ``float32``.

    Example::

        choice = PrecisionMap(modules={"decoder": "float32"}, op_types={"softmax": "float32"})
        model = ct.convert(source, compute_precision=choice)
        choice.save("precision.json")
    """

    def __init__(
        self,
        names: Mapping[str, Choice] | None = None,
        *,
        modules: Mapping[str, Choice] | None = None,
        op_types: Mapping[str, Choice] | None = None,
        default: Choice = "float16",
        rewrites: Mapping[str, Iterable[str] | None] | None = None,
    ) -> None:
        self.names, self.modules, self.op_types = dict(names or {}), dict(modules or {}), dict(op_types or {})
        self.default = default
        self.rewrites: dict[str, tuple[str, ...] | None] = {
            name: None if ops is None else tuple(ops) for name, ops in (rewrites or {}).items()
        }
        for rules in (self.names, self.modules, self.op_types, {"default": default}):
            for rule, choice in rules.items():
                if choice not in get_args(Choice):
                    raise InputError(f"the precision of '{rule}'", expected="float16 or float32", actual=repr(choice))

    @classmethod
    def keeping(cls, names: Iterable[str], rewrites: Mapping[str, Iterable[str] | None] | None = None) -> PrecisionMap:
        """A map that keeps the named ops in float32."""
        return cls(dict.fromkeys(names, "float32"), rewrites=rewrites)

    def choice(self, op: Op) -> Choice:
        """What the map says of an op."""
        name = name_of(op)
        if name in self.names:
            return self.names[name]
        for pattern, choice in reversed(self.names.items()):
            if _is_pattern(pattern) and fnmatchcase(name, pattern):
                return choice
        module = op.location.module if op.location is not None else None
        for pattern, choice in reversed(self.modules.items()):
            if module is not None and _is_at(module, pattern):
                return choice
        return self.op_types.get(op.op_name, self.default)

    def __call__(self, op: Op) -> bool:
        """Whether an op may become float16."""
        return self.choice(op) == "float16"

    def unmatched(self, program: Program) -> list[str]:
        """Names, patterns and types that fit no op of a program: misspelled, or of another model."""
        ops = [
            op for function in program.functions.values() for op in function.body.walk() if not isinstance(op, const)
        ]
        names, types = {name_of(op) for op in ops}, {op.op_name for op in ops}
        places = {op.location.module for op in ops if op.location is not None and op.location.module is not None}
        missed = [
            rule
            for rule in self.names
            if rule not in names and not (_is_pattern(rule) and any(fnmatchcase(name, rule) for name in names))
        ]
        missed += [rule for rule in self.modules if not any(_is_at(place, rule) for place in places)]
        return missed + [rule for rule in self.op_types if rule not in types]

    # -- files -------------------------------------------------------------------------------------------------------

    def as_dict(self) -> dict[str, Any]:
        """The map as JSON has it."""
        document: dict[str, Any] = {"precision_map": _VERSION, "default": self.default}
        for name in ("names", "modules", "op_types"):
            if rules := getattr(self, name):
                document[name] = rules
        if self.rewrites:
            document["rewrites"] = {n: None if ops is None else list(ops) for n, ops in self.rewrites.items()}
        return document

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the map as JSON."""
        Path(path).write_text(json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PrecisionMap:
        """Reads a map.

        Raises:
            MissingFileError: There is no such file.
            FormatError: It holds no precision map.
        """
        if not Path(path).is_file():
            raise MissingFileError("no precision map is there", location=path)
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (ValueError, RecursionError) as error:
            raise FormatError("the file is no precision map", location=path, actual=str(error)) from error

    @classmethod
    def from_dict(cls, document: Any) -> PrecisionMap:
        """The map that ``as_dict`` describes.

        Raises:
            FormatError: It describes none.
        """
        if not isinstance(document, dict) or document.get("precision_map") != _VERSION:
            raise FormatError("this is no precision map", expected=f'{{"precision_map": {_VERSION}, …}}')
        known = {"precision_map", "default", "names", "modules", "op_types", "rewrites"}
        if extra := document.keys() - known:
            raise FormatError("a precision map has other entries", expected=", ".join(known), actual=", ".join(extra))
        rules = {name: document.get(name, {}) for name in ("names", "modules", "op_types", "rewrites")}
        for name, found in rules.items():
            if not isinstance(found, dict):
                raise FormatError(f"'{name}' of a precision map", expected="an object", actual=type(found).__name__)
        for name, ops in rules["rewrites"].items():
            if ops is not None and not (isinstance(ops, list) and all(isinstance(op, str) for op in ops)):
                raise FormatError(f"rewrite '{name}' of a precision map", expected="null or a list of names of ops")
        rewrites = rules.pop("rewrites")
        return cls(rules.pop("names"), default=document.get("default", "float16"), rewrites=rewrites, **rules)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrecisionMap) and self.as_dict() == other.as_dict()

    __hash__ = None  # type: ignore[assignment]  # its rules may be edited

    def __repr__(self) -> str:
        return f"PrecisionMap({json.dumps(self.as_dict(), ensure_ascii=False)})"


def name_of(op: Op) -> str:
    """The name by which a map knows an op: its own, or that of its first result where it has none."""
    return op.name or next((result.name for result in op.results), "")


def _is_pattern(text: str) -> bool:
    return any(mark in text for mark in "*?[")


def _is_at(module: str, pattern: str) -> bool:
    """Whether a module is the one of a pattern, or below it."""
    return fnmatchcase(module, pattern) or fnmatchcase(module, f"{pattern}.*")
