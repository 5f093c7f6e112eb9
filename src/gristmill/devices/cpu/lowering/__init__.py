"""How ops become native kernel calls, a family in each file; importing this package registers them all."""

from __future__ import annotations

from gristmill.devices.cpu.lowering import conv, linear, movement, pooling, resize

FAMILIES = (conv, linear, movement, pooling, resize)
