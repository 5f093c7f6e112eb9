"""Lists of tensors, which are tensors with an axis in front: elements that were never written are zeros.

Lists that grow when they are written have no place in a network, nor have elements of unknown shape.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gristmill.ir.types import ListType, TensorType
from gristmill.ops import lists
from gristmill.package.network_writer.registry import RefusedError, writes
from gristmill.package.network_writer.writer import Writer


@writes(lists.make_list)
def make_list(w: Writer, op: Any) -> str:
    kind = op.result.type
    assert isinstance(kind, ListType)
    element = kind.element
    if kind.dynamic:
        raise RefusedError("a network's tensors do not grow as lists do", "make the list of a fixed length")
    if not isinstance(element, TensorType) or not element.is_static:
        raise RefusedError("the shape of a list's elements is not known", "give the elements a fixed shape")
    sizes = [n for n in element.shape if isinstance(n, int)]
    if isinstance(kind.length, int):
        return w.layer("fillStatic", targetShape=[kind.length, *sizes], value=0.0)
    length = w.row(op.init_length)
    return w.layer("fillDynamic", w.layer("concatND", length, w.load(np.array(sizes, np.int32)), axis=0), value=0.0)


@writes(lists.list_length)
def length(w: Writer, op: Any) -> str:
    sizes = w.layer("getShape", w.tensor(op.ls))
    return w.layer("gather", sizes, w.load(np.zeros(1, np.int32)), axis=0)


@writes(lists.list_read)
def read(w: Writer, op: Any) -> str:
    found = w.layer("gather", w.tensor(op.ls), w.row(op.index), axis=0)
    return w.squeeze(found, [0]) if op.result.rank else found


@writes(lists.list_gather)
def gather(w: Writer, op: Any) -> str:
    return w.layer("gather", w.tensor(op.ls), w.tensor(op.indices), axis=0)


@writes(lists.list_write)
def write(w: Writer, op: Any) -> str:
    value = w.tensor(op.value)
    updates = w.expand(value, [0]) if op.value.rank else w.row(op.value)
    return w.layer("scatter", w.tensor(op.ls), w.row(op.index), updates, axis=0, mode="SCATTER_UPDATE")


@writes(lists.list_scatter)
def scatter(w: Writer, op: Any) -> str:
    inputs = (w.tensor(value) for value in (op.ls, op.indices, op.value))
    return w.layer("scatter", *inputs, axis=0, mode="SCATTER_UPDATE")
