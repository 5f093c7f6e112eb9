"""Which of a computer's units may run a model."""

from __future__ import annotations

import enum


class ComputeUnit(enum.Enum):
    """A choice of units. On a computer without them, the units that are there run the model."""

    ALL = 1
    CPU_AND_GPU = 2
    CPU_ONLY = 3
    CPU_AND_NE = 4


class ReshapeFrequency(enum.Enum):
    """A hint how often the sizes of a model's input change; here they may change at any time at little cost."""

    Frequent = 1
    Infrequent = 2


class SpecializationStrategy(enum.Enum):
    """A hint whether a model should rather load or predict fast."""

    Default = 1
    FastPrediction = 2
