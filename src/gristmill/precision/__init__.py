"""Choosing precision: the float16 typing pass, and the types at a program's boundary."""

from __future__ import annotations

from gristmill.precision.choice import FLOAT16, FLOAT32, Precision

__all__ = ["FLOAT16", "FLOAT32", "Precision"]
