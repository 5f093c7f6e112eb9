"""The units of a computer that run models, under coremltools' names."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import ClassVar

from gristmill.runtime.plan import CPU, GPU, NEURAL_ENGINE, UNIT_NAMES
from gristmill.runtime.targets import Target, target_named


class MLComputeDevice(ABC):
    """A unit of a computer.

    Args:
        proxy: The target that it belongs to, or its name; this computer for ``None``.
    """

    unit: ClassVar[str]

    def __init__(self, proxy: Target | str | None = None) -> None:
        self.target = target_named(proxy)

    @classmethod
    def get_all_compute_devices(cls, target: Target | str | None = None) -> list[MLComputeDevice]:
        """The units that are there.

        Args:
            target: On which chip; this computer when left out.
        """
        chip = target_named(target)
        return [device_of(unit, chip) for unit in chip.units]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MLComputeDevice) and (other.unit, other.target) == (self.unit, self.target)

    def __hash__(self) -> int:
        return hash((self.unit, self.target.name))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {UNIT_NAMES[self.unit]} of {self.target.name}>"


class MLCPUComputeDevice(MLComputeDevice):
    """A CPU."""

    unit = CPU


class MLGPUComputeDevice(MLComputeDevice):
    """A GPU."""

    unit = GPU


class MLNeuralEngineComputeDevice(MLComputeDevice):
    """A Neural Engine."""

    unit = NEURAL_ENGINE

    @property
    def total_core_count(self) -> int:
        """How many cores it has."""
        return self.target.neural_cores


_CLASSES: Mapping[str, type[MLComputeDevice]] = {
    cls.unit: cls for cls in (MLCPUComputeDevice, MLGPUComputeDevice, MLNeuralEngineComputeDevice)
}


def device_of(unit: str, target: Target) -> MLComputeDevice:
    """The device that stands for a unit of a target."""
    return _CLASSES[unit](target)
