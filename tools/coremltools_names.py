"""Writes ``docs/coremltools-names.md``: which public names of coremltools Gristmill has, by introspection of both.

python -m tools.coremltools_names            # writes the page
python -m tools.coremltools_names --check    # fails when the page is not what would be written
"""

from __future__ import annotations

import argparse
import enum
import importlib
import inspect
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PAGE = Path(__file__).parent.parent / "docs" / "coremltools-names.md"

HEAD = """\
# Names of coremltools 9.0

Every public name of the modules that users of coremltools import, and whether `gristmill` has it at the same place.
Written by `python -m tools.coremltools_names` from the two installed packages.

- **same**: the name exists, takes every parameter that coremltools' takes, in its order, and requires no other.
  A constant has the same value. This is about names and signatures; what a function does is tested elsewhere.
- **partial**: the name exists; what it lacks is said.
- **absent**: there is no such name.

Where Python tells no signature, as for generated classes, only the name is compared. Names that begin with an
underscore, and attributes that only instances have, are not listed.

"""

MODULES = (
    "",
    "converters",
    "converters.libsvm",
    "converters.mil",
    "converters.mil.experimental.passes",
    "converters.mil.frontend.torch",
    "converters.mil.frontend.torch.torch_op_registry",
    "converters.mil.input_types",
    "converters.mil.mil",
    "converters.mil.mil.passes.pass_pipeline",
    "converters.mil.mil.types",
    "converters.sklearn",
    "converters.xgboost",
    "models",
    "models.array_feature_extractor",
    "models.compute_device",
    "models.compute_plan",
    "models.datatypes",
    "models.feature_vectorizer",
    "models.ml_program.experimental",
    "models.model",
    "models.nearest_neighbors",
    "models.neural_network",
    "models.neural_network.flexible_shape_utils",
    "models.neural_network.quantization_utils",
    "models.pipeline",
    "models.tree_ensemble",
    "models.utils",
    "optimize",
    "optimize.coreml",
    "optimize.coreml.experimental",
    "optimize.torch",
    "optimize.torch.layerwise_compression",
    "optimize.torch.palettization",
    "optimize.torch.pruning",
    "optimize.torch.quantization",
    "proto",
)
"""Submodules that coremltools' guides and reference import from."""

_MISSING = object()
_PLAIN = (bool, int, float, str)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Row(NamedTuple):
    """One name of coremltools and what Gristmill has of it."""

    name: str
    status: str
    remark: str


def rows(module: str) -> list[Row]:
    """The names of one submodule; the members of its classes follow the class."""
    theirs = importlib.import_module(f"coremltools.{module}".rstrip("."))
    ours = _import_ours(module)
    return [row for name in _public(theirs) for row in _compare(name, getattr(theirs, name), _member(ours, name))]


def _compare(name: str, theirs: Any, ours: Any) -> Iterator[Row]:
    yield Row(name, *_status(theirs, ours))
    if inspect.isclass(theirs) and theirs.__module__.startswith("coremltools.") and "_pb2" not in theirs.__module__:
        for member in _public(theirs):
            if member not in dir(object):
                yield Row(f"{name}.{member}", *_status(_member(theirs, member), _member(ours, member)))


def _status(theirs: Any, ours: Any) -> tuple[str, str]:
    if ours is _MISSING:
        return "absent", ""
    if isinstance(theirs, _PLAIN) and not isinstance(theirs, enum.Enum):
        return ("same", "") if theirs == ours else ("partial", "another value")
    if callable(theirs) and not callable(ours):
        return "partial", "not callable"
    expected, actual = _signature(theirs), _signature(ours)
    if expected is None or actual is None:
        return "same", ""
    remark = misfit(expected, actual)
    return ("partial", remark) if remark else ("same", "")


def misfit(expected: inspect.Signature, actual: inspect.Signature) -> str:
    """Says why a call written for ``expected`` may fail with ``actual``; empty where it cannot."""
    wanted = [p.name for p in expected.parameters.values() if p.kind in _NAMED]
    present = actual.parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in present.values())
    lacking = [n for n in wanted if n not in present and not takes_any]
    if lacking:
        return "without " + ", ".join(f"`{n}`" for n in lacking)
    extra = [
        n for n, p in present.items() if p.default is inspect.Parameter.empty and p.kind in _NAMED and n not in wanted
    ]
    if extra:
        return "also requires " + ", ".join(f"`{n}`" for n in extra)
    stricter = [
        n
        for n in wanted
        if n in present and present[n].default is present[n].empty is not expected.parameters[n].default
    ]
    if stricter:
        return "requires " + ", ".join(f"`{n}`" for n in stricter)
    if _positional(actual)[: len(_positional(expected))] != _positional(expected) and not takes_any:
        return "another order of positional parameters"
    return ""


def _positional(signature: inspect.Signature) -> list[str]:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [p.name for p in signature.parameters.values() if p.kind is kind]


def _signature(value: Any) -> inspect.Signature | None:
    if not callable(value) or (inspect.isclass(value) and issubclass(value, enum.Enum)):
        return None
    try:
        return inspect.signature(value)
    except (TypeError, ValueError):
        return None


def _public(owner: Any) -> list[str]:
    """Names of a module or class that are its own: not private, nor modules and values imported from elsewhere."""
    names = [n for n in dir(owner) if not n.startswith("_")]
    if inspect.isclass(owner):
        return names
    return [n for n in names if _belongs(getattr(owner, n))]


def _belongs(value: Any) -> bool:
    home = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
    if home is None:
        return isinstance(value, (*_PLAIN, dict, list, tuple))
    return str(home).startswith("coremltools")


def _member(owner: Any, name: str) -> Any:
    return _MISSING if owner is _MISSING else getattr(owner, name, _MISSING)


def _import_ours(module: str) -> Any:
    name = f"gristmill.{module}".rstrip(".")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise
        return _MISSING


def page() -> str:
    """The text of the page."""
    tables = {module: rows(module) for module in MODULES}
    lines = ["| module | same | partial | absent |", "|---|---|---|---|"]
    total: Counter[str] = Counter()
    for module, found in tables.items():
        count = Counter(row.status for row in found)
        total += count
        lines.append(f"| `{_title(module)}` | {count['same']} | {count['partial']} | {count['absent']} |")
    lines.append(f"| all | {total['same']} | {total['partial']} | {total['absent']} |")
    for module, found in tables.items():
        lines += ["", f"## `{_title(module)}`", "", "| name | status | remark |", "|---|---|---|"]
        lines += [f"| `{row.name}` | {row.status} | {row.remark} |" for row in found]
    return HEAD + "\n".join(lines) + "\n"


def _title(module: str) -> str:
    return f"coremltools.{module}".rstrip(".")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the page is stale")
    text = page()
    if not parser.parse_args().check:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    return int(PAGE.read_text(encoding="utf-8") != text)


if __name__ == "__main__":
    sys.exit(main())
