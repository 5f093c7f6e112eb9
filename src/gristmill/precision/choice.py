"""The caller's choice of precision."""

from __future__ import annotations

import enum


class Precision(enum.Enum):
    """The type that a conversion gives to floating values."""

    FLOAT16 = "float16"
    FLOAT32 = "float32"


FLOAT16, FLOAT32 = Precision
