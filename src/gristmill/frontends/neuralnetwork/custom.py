"""Layers of the application's own."""

from __future__ import annotations

import json
from typing import Any

from gristmill.frontends.neuralnetwork.context import Context, ops
from gristmill.frontends.neuralnetwork.registry import maps
from gristmill.ir.program import Value


@maps("custom")
def custom(ctx: Context, p: Any, *inputs: Value) -> tuple[Value, ...]:
    return ops.several(
        "nn_custom",
        x=inputs,
        class_name=p.className,
        parameters=json.dumps(p.parameters, sort_keys=True),
        weights=[ops.const(weights.raw()) for weights in p.weights],
    )
