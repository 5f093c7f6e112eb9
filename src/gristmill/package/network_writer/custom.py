"""Layers of the application's own."""

from __future__ import annotations

import json
from typing import Any

from gristmill.ops.nn import custom as nn
from gristmill.package.network_writer.registry import writes
from gristmill.package.network_writer.writer import Writer, weights


@writes(nn.nn_custom)
def custom(w: Writer, op: Any) -> list[str]:
    return w.layers(
        "custom",
        *map(w.tensor, op.x),
        count=len(op.results),
        className=op.class_name,
        weights=[weights(w.fixed(value, "a weight")) for value in op.weights],
        parameters={name: _parameter(value) for name, value in json.loads(op.parameters).items()},
    )


def _parameter(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue" if abs(value) < 2**31 else "longValue": value}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case _:
            return {}
