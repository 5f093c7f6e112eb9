"""Op classes by name. The families in ``gristmill.ops`` register theirs when that package is imported."""

from __future__ import annotations

from collections.abc import Iterator

from gristmill.errors import UnsupportedError
from gristmill.ir.builtin import const
from gristmill.ir.op import Op
from gristmill.ir.opset import Opset

_ops: dict[str, type[Op]] = {"const": const}


def register(*classes: type[Op]) -> None:
    """Adds op classes; a name is given once."""
    for cls in classes:
        if _ops.setdefault(cls.op_name, cls) is not cls:
            raise ValueError(f"two ops are called {cls.op_name!r}: {_ops[cls.op_name]} and {cls}")


def find(name: str) -> type[Op] | None:
    """The class of an op, or ``None``."""
    return _ops.get(name)


def lookup(name: str, opset: Opset) -> type[Op]:
    """The class of an op.

    Raises:
        UnsupportedError: No op has this name.
    """
    cls = _ops.get(name)
    if cls is None:
        import difflib  # for the error alone

        near = difflib.get_close_matches(name, _ops, n=3)
        raise UnsupportedError(
            f"unknown op '{name}' in opset {opset}",
            op=name,
            expected=f"one of the {len(_ops)} ops known here" + (f", such as {', '.join(near)}" if near else ""),
            hint="a custom op must be registered before the model is loaded",
        )
    return cls


def all_ops(dialect: str = "mil") -> Iterator[type[Op]]:
    """Every registered op of a dialect, by name."""
    yield from (_ops[name] for name in sorted(_ops) if _ops[name].dialect == dialect)
