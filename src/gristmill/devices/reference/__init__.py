"""The reference device: every op by its NumPy definition, strictly.

Each op accumulates and evaluates in float64 and rounds once to the declared type; no op is fused with another. It is
slow on purpose: clarity before speed, so that other devices can be held against it.
"""

from __future__ import annotations

from gristmill.devices.reference.executor import ReferenceDevice

__all__ = ["ReferenceDevice"]
