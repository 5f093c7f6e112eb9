"""The ops of Core ML's programs, a family in each file; importing this package registers them all."""

from __future__ import annotations

from gristmill.ir import registry
from gristmill.ops import (
    activation,
    attention,
    classify,
    constexpr,
    control_flow,
    conv,
    detection,
    elementwise_binary,
    elementwise_unary,
    image_resizing,
    linear,
    lists,
    normalization,
    pooling,
    quantization,
    random,
    recurrent,
    reduction,
    scatter_gather,
    slicing,
    state,
    tensor_operation,
    tensor_transformation,
)

FAMILIES = (
    activation,
    attention,
    classify,
    constexpr,
    control_flow,
    conv,
    detection,
    elementwise_binary,
    elementwise_unary,
    image_resizing,
    linear,
    lists,
    normalization,
    pooling,
    quantization,
    random,
    recurrent,
    reduction,
    scatter_gather,
    slicing,
    state,
    tensor_operation,
    tensor_transformation,
)

for _family in FAMILIES:
    registry.register(*_family.OPS)
