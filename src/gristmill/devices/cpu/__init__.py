"""The CPU engine: typed programs lowered to native kernels."""

from __future__ import annotations

from gristmill.devices.cpu.device import CpuDevice, CpuExecutable

__all__ = ["CpuDevice", "CpuExecutable"]
