"""A model of Apple's GPU: every tensor in its declared type, in the arithmetic of a numerics profile."""

from __future__ import annotations

from gristmill.devices.profiles import NumericsProfile
from gristmill.devices.simulated import SimulatedDevice


class SimulatedGpuDevice(SimulatedDevice):
    """Stores float16 as float16 and float32 as float32, and adds up in float32 unless the profile says less.

    Args:
        profile: How it computes.
    """

    name = unit = "gpu"

    def __init__(self, profile: NumericsProfile | str = "gpu_float32") -> None:
        super().__init__(profile)


__all__ = ["SimulatedGpuDevice"]
