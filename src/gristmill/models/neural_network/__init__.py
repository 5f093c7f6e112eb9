"""Building, changing and printing neural networks, under coremltools' names."""

from __future__ import annotations

from gristmill.models.neural_network import (
    builder,
    flexible_shape_utils,
    optimization_utils,
    printer,
    quantization_utils,
    spec_inspection_utils,
    update_optimizer_utils,
    utils,
)
from gristmill.models.neural_network.builder import NeuralNetworkBuilder
from gristmill.models.neural_network.update_optimizer_utils import AdamParams, SgdParams

__all__ = [
    "AdamParams",
    "NeuralNetworkBuilder",
    "SgdParams",
    "builder",
    "flexible_shape_utils",
    "optimization_utils",
    "printer",
    "quantization_utils",
    "spec_inspection_utils",
    "update_optimizer_utils",
    "utils",
]
