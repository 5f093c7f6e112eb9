"""Names that Core ML takes.

Core ML's compiler writes a program as text, in which names are identifiers of ASCII letters, digits and underscores and
the words of the language are none. coremltools renames what is not (``NameSanitizer`` in its
``converters/mil/mil/passes/defs/preprocess.py``, whose list of words this is).
"""

from __future__ import annotations

import re
from typing import Final

from gristmill.ir.program import Function, Program

_TYPES: Final = (
    "fp16",
    "fp32",
    "fp64",
    "bf16",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)
_WORDS: Final = frozenset(
    ["any", "bool", "dict", "false", "func", "list", "program", "state", "string", "tensor", "true", "tuple", *_TYPES]
)


def make_valid(program: Program) -> dict[str, str]:
    """Renames values and ops that Core ML would not take, in place.

    Returns:
        The new names of inputs, states and outputs that have one, by the old ones.
    """
    renamed: dict[str, str] = {}
    for function in program.functions.values():
        renamed |= _rename_values(function)
        for op in function.body.walk():
            if op.name:
                op.name = valid(op.name)
    return renamed


def _rename_values(function: Function) -> dict[str, str]:
    ends = {value.name for value in (*function.inputs, *function.outputs)}
    renamed: dict[str, str] = {}
    for value in function.values():
        name = valid(value.name)
        if name != value.name:
            renamed[value.name] = value.name = function.unique_name(name)
    return {old: new for old, new in renamed.items() if old in ends}


def valid(name: str) -> str:
    """The name itself if Core ML takes it, else the one that coremltools gives, so that applications find it."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return f"var_{name}" if name[:1].isdigit() else f"{name}_workaround" if name in _WORDS else name
