"""Values of two models of one source, matched by name."""

from __future__ import annotations

import re
from collections.abc import Iterable

_TYPED = re.compile(r"(_cast)?_(fp16|fp32)(_\d+)?$|_cast$")


def stem(name: str) -> str:
    """A value's name without what typing in float16 adds: ``x_fp16`` here, ``x_cast_fp16`` in coremltools."""
    return _TYPED.sub("", name)


def counterparts(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """For names of one model's values those of the other's that stand for the same.

    They are equal, or differ in what typing adds. What has no counterpart is left out.
    """
    exact = dict.fromkeys(others)
    stems: dict[str, str] = {}
    for other in exact:
        stems.setdefault(stem(other), other)
    found: dict[str, str] = {}
    for name in names:
        typed = (other for other in (f"{name}_fp16", f"{name}_cast_fp16", f"{name}_cast") if other in exact)
        match = name if name in exact else next(typed, None) or stems.get(name) or stems.get(stem(name))
        if match is not None:
            found[name] = match
    return found
