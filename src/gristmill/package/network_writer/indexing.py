"""Reading and writing by index."""

from __future__ import annotations

from typing import Any

import numpy as np

from gristmill.ir.constants import TransposeData
from gristmill.ir.program import Value
from gristmill.ops import scatter_gather, tensor_operation
from gristmill.package.network_reader import StoredData
from gristmill.package.network_writer.registry import RefusedError, writes
from gristmill.package.network_writer.writer import Writer


def _check(op: Any) -> None:
    """Refuses batches of indices, which came with iOS 16."""
    if getattr(op, "batch_dims", None):
        raise RefusedError("a network's indices have no batch", "convert to an ML Program")


@writes(scatter_gather.gather)
def gather(w: Writer, op: Any) -> str:
    """A table [count, width] of floats is an embedding; a single index takes an axis away."""
    _check(op)
    table, axis = w.constant(op.x), op.axis % op.x.rank
    if table is not None and table.ndim == 2 and table.dtype.kind == "f" and axis == 0:
        return _embedding(w, op, table)
    indices = w.tensor(op.indices) if op.indices.rank else w.row(op.indices)
    found = w.layer("gather", w.tensor(op.x), indices, axis=axis)
    return w.squeeze(found, [axis]) if op.indices.rank == 0 and op.x.rank > 1 else found


def _embedding(w: Writer, op: Any, table: Any) -> str:
    """The layer holds the table transposed, and takes indices whose last axis has one element."""
    indices = w.expand(w.tensor(op.indices), [op.indices.rank]) if op.indices.rank else w.row(op.indices)
    return w.layer(
        "embeddingND",
        indices,
        vocabSize=table.shape[0],
        embeddingSize=table.shape[1],
        weights=_stored(op.x) or w.derived(op.x, np.ascontiguousarray(table.T)),
    )


def _stored(table: Value) -> Any:
    """The weights of an embedding that was read, from which the table is transposed."""
    data = table.constant.payload if table.constant is not None else None
    source = data.source if isinstance(data, TransposeData) else None
    return source.message if isinstance(source, StoredData) else None


@writes(scatter_gather.gather_along_axis)
def gather_along_axis(w: Writer, op: Any) -> str:
    return w.layer("gatherAlongAxis", w.tensor(op.x), w.tensor(op.indices), axis=op.axis)


@writes(scatter_gather.gather_nd)
def gather_nd(w: Writer, op: Any) -> str:
    _check(op)
    return w.layer("gatherND", w.tensor(op.x), w.tensor(op.indices))


@writes(scatter_gather.scatter)
def scatter(w: Writer, op: Any) -> str:
    indices, updates = w.tensor(op.indices), w.tensor(op.updates)
    if op.indices.rank == 0:
        indices, updates = w.row(op.indices), w.expand(updates, [op.axis % op.data.rank])
    return w.layer("scatter", w.tensor(op.data), indices, updates, axis=op.axis, mode=_mode(op))


@writes(scatter_gather.scatter_along_axis)
def scatter_along_axis(w: Writer, op: Any) -> str:
    inputs = (w.tensor(value) for value in (op.data, op.indices, op.updates))
    return w.layer("scatterAlongAxis", *inputs, axis=op.axis, mode=_mode(op))


@writes(scatter_gather.scatter_nd)
def scatter_nd(w: Writer, op: Any) -> str:
    inputs = (w.tensor(value) for value in (op.data, op.indices, op.updates))
    return w.layer("scatterND", *inputs, mode=_mode(op))


def _mode(op: Any) -> str:
    return f"SCATTER_{op.mode.upper()}"


@writes(tensor_operation.non_zero)
def non_zero(w: Writer, op: Any) -> str:
    return w.layer("whereNonZero", w.tensor(op.x))


@writes(tensor_operation.one_hot)
def one_hot(w: Writer, op: Any) -> str:
    values = [
        w.number(value) if value is not None else default
        for value, default in ((op.on_value, 1.0), (op.off_value, 0.0))
    ]
    if None in values:
        raise RefusedError("the values of a one-hot layer are constants", "convert to an ML Program")
    on, off = values
    size = w.number(op.one_hot_vector_size)
    inputs = [w.row(op.indices)] if size is not None else [w.row(op.indices), w.row(op.one_hot_vector_size)]
    made = w.layer(
        "oneHot",
        *inputs,
        oneHotVectorSize=None if size is None else int(size),
        axis=op.axis if op.indices.rank else -1,
        onValue=on,
        offValue=off,
    )
    return made if op.indices.rank else w.squeeze(made, [0])
