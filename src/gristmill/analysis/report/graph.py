"""A program as a document of plain values: what the page draws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from gristmill.ir.builtin import const
from gristmill.ir.constants import Array, BlobData, Constant
from gristmill.ir.op import Op
from gristmill.ir.program import Block, Function, Location, Program, Value
from gristmill.ir.traits import ControlFlow, Decompresses
from gristmill.ir.types import TensorType, Type
from gristmill.precision.map import name_of

Document: TypeAlias = dict[str, Any]

READ_LIMIT = 1 << 28
"""Bytes of constants that are read for their ranges; later ones are shown by type alone."""

_SHOWN = 16  # elements of a constant that are written out
_BINS = 24


def graph(program: Program) -> list[Document]:
    """All functions of a program.

    Returns:
        For each ``name``, ``opset``, ``block`` and ``constants`` (by name). A block has ``inputs`` and ``outputs`` as
        (name, type), and ``ops``: ``type``, ``name``, ``results`` as (name, type), ``operands`` as (field, names),
        ``blocks``, and ``at``, where it comes from. Constants, and what decompresses them, are no ops of a block.
    """
    budget = _Budget(READ_LIMIT)
    return [_function(function, budget) for function in program.functions.values()]


def shown_ops(block: Block) -> Iterator[Op]:
    """The ops of a block that the page shows."""
    return (op for op in block if not (isinstance(op, const) or op.has(Decompresses)))


def type_text(type: Type) -> str:
    """A type for people: ``fp16 [1, 3, n]``."""
    if isinstance(type, TensorType):
        return f"{type.dtype} [{', '.join(map(str, type.shape))}]"
    return str(type)


def _function(function: Function, budget: _Budget) -> Document:
    constants = {
        value.name: _constant(value, budget)
        for op in function.body.walk()
        if isinstance(op, const) or op.has(Decompresses)
        for value in op.results
    }
    return {
        "name": function.name,
        "opset": str(function.opset),
        "block": _block(function.body),
        "constants": constants,
    }


def _block(block: Block) -> Document:
    return {
        "inputs": [_value(value) for value in block.arguments],
        "outputs": [_value(value) for value in block.outputs],
        "ops": [_op(op) for op in shown_ops(block)],
    }


def _value(value: Value) -> tuple[str, str]:
    return value.name, type_text(value.type)


def _op(op: Op) -> Document:
    document: Document = {
        "type": op.op_name,
        "name": name_of(op),
        "results": [_value(value) for value in op.results],
        "operands": [
            (slot, [value.name for value in (found if isinstance(found, tuple) else (found,))])
            for slot, found in op.operands.items()
        ],
    }
    if op.location is not None:
        document["at"] = _place(op.location)
    if op.has(ControlFlow):
        document["blocks"] = [_block(block) for block in op.blocks]
    return document


def _place(location: Location) -> Document:
    parts = {
        "module": location.module,
        "source": location.source,
        "file": location.file,
        "line": location.line,
    }
    return {key: part for key, part in parts.items() if part is not None}


# --- constants -------------------------------------------------------------------------------------------------------


class _Budget:
    """How much may still be read."""

    def __init__(self, size: int) -> None:
        self.left = size

    def take(self, size: int) -> bool:
        self.left -= size
        return self.left >= 0


def _constant(value: Value, budget: _Budget) -> Document:
    """Type, contents or range of a constant."""
    document: Document = {"type": type_text(value.type)}
    if value.constant is None:
        maker = value.producer
        document["made by"] = maker.op_name if maker is not None else ""
        return document
    constant = value.constant
    if not isinstance(constant.type, TensorType):
        document["text"] = _clipped(repr(constant.python()))
        return document
    data = constant.data
    document["bytes"] = -(-data.size * data.dtype.bits // 8)
    if (isinstance(data, BlobData) and not data.readable) or not budget.take(document["bytes"]):
        return document
    return document | _contents(constant)


def _contents(constant: Constant) -> Document:
    array = constant.numpy()
    if array.size <= _SHOWN:
        return {"text": _clipped(str(array.tolist()) if array.ndim else repr(array.item()))}
    if array.dtype == object or array.dtype.kind == "b":
        return {}
    return _summary(array)


def _summary(array: Array) -> Document:
    """Range, share of zeros and distribution of many numbers."""
    wide = np.asarray(array, np.float64).reshape(-1)
    finite = wide[np.isfinite(wide)]
    if not finite.size:
        return {"finite": 0.0}
    low, high = float(finite.min()), float(finite.max())
    counts, _ = np.histogram(finite, _BINS, (low, high if high > low else low + 1))
    return {
        "low": low,
        "high": high,
        "mean": float(finite.mean()),
        "zeros": float(np.count_nonzero(finite == 0) / wide.size),
        "finite": float(finite.size / wide.size),
        "histogram": counts.tolist(),
    }


def _clipped(text: str, most: int = 200) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
