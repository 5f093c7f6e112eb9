"""The ``add_*`` methods of the builder, a family of layers in each module."""

from __future__ import annotations

from gristmill.models.neural_network.layers.activation import ActivationLayers
from gristmill.models.neural_network.layers.control_flow import ControlFlowLayers
from gristmill.models.neural_network.layers.conv import ConvolutionLayers
from gristmill.models.neural_network.layers.creation import CreationLayers
from gristmill.models.neural_network.layers.elementwise import ElementwiseLayers
from gristmill.models.neural_network.layers.images import ImageLayers
from gristmill.models.neural_network.layers.indexing import IndexingLayers
from gristmill.models.neural_network.layers.linear import LinearLayers
from gristmill.models.neural_network.layers.normalization import NormalizationLayers
from gristmill.models.neural_network.layers.pooling import PoolingLayers
from gristmill.models.neural_network.layers.recurrent import RecurrentLayers
from gristmill.models.neural_network.layers.reduction import ReductionLayers
from gristmill.models.neural_network.layers.shape import ShapeLayers
from gristmill.models.neural_network.layers.unary import UnaryLayers

__all__ = ["Layers"]


class Layers(
    ActivationLayers,
    ControlFlowLayers,
    ConvolutionLayers,
    CreationLayers,
    ElementwiseLayers,
    ImageLayers,
    IndexingLayers,
    LinearLayers,
    NormalizationLayers,
    PoolingLayers,
    RecurrentLayers,
    ReductionLayers,
    ShapeLayers,
    UnaryLayers,
):
    """Every type of layer."""
