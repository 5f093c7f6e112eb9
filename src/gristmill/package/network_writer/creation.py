"""Fillings, ranges and random tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gristmill.ir.op import Op
from gristmill.ops import random, tensor_operation
from gristmill.package.network_writer.registry import writes
from gristmill.package.network_writer.writer import Writer


@writes(tensor_operation.fill)
def fill(w: Writer, op: Any) -> str:
    """With one number; one that is computed multiplies a filling with ones."""
    value, shape = 0.0 if op.value is None else w.number(op.value), w.constant(op.shape)
    held = 1.0 if value is None else value
    if shape is None:
        filled = w.layer("fillDynamic", w.tensor(op.shape), value=held)
    elif shape.size:
        filled = w.layer("fillStatic", targetShape=shape, value=held)
    else:
        filled = w.load(np.float32(held).reshape(1))
    return w.multiply(filled, w.tensor(op.value)) if value is None else filled


@writes(tensor_operation.fill_like)
def fill_like(w: Writer, op: Any) -> str:
    return w.layer(
        "fillLike", w.tensor(op.ref_tensor), value=0.0 if op.value is None else float(w.fixed(op.value, "the value"))
    )


@writes(tensor_operation.range_1d)
def range_1d(w: Writer, op: Any) -> str:
    """The layer holds beginning and step where both are known, and takes a step of 0 for 1."""
    end, start, step = (w.number(value) for value in (op.end, op.start, op.step))
    if start is None or not step:
        return w.layer("rangeDynamic", *(w.row(value) for value in (op.end, op.start, op.step)))
    if end is None:
        return w.layer("rangeDynamic", w.row(op.end), startValue=start, stepSizeValue=step)
    return w.layer("rangeStatic", endValue=end, startValue=start, stepSizeValue=step)


# --- random numbers --------------------------------------------------------------------------------------------------


_RANDOM: Mapping[type[Op], tuple[str, Mapping[str, str]]] = {
    random.random_bernoulli: ("randomBernoulli", {"prob": "prob"}),
    random.random_normal: ("randomNormal", {"mean": "mean", "stdDev": "stddev"}),
    random.random_uniform: ("randomUniform", {"minVal": "low", "maxVal": "high"}),
}
"""The layers, and their fields with the operands that they hold."""


@writes(*_RANDOM)
def random_tensor(w: Writer, op: Any) -> str:
    kind, names = _RANDOM[type(op)]
    fields = {"seed": op.seed, **{field: getattr(op, name) for field, name in names.items()}}
    shape = w.constant(op.shape)
    if shape is None:
        return w.layer(f"{kind}Dynamic", w.tensor(op.shape), **fields)
    return w.layer(f"{kind}Static", outputShape=shape if shape.size else [1], **fields)


@writes(random.random_categorical)
def categorical(w: Writer, op: Any) -> str:
    fields = {"isLogits": op.mode == "logits", "numSamples": op.size, "seed": op.seed, "temperature": 1.0, "eps": 1e-10}
    return w.layer("categoricalDistribution", w.tensor(op.x), **fields)
