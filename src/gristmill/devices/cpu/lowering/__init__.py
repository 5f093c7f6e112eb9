"""How ops become native kernel calls, a family in each file; importing this package registers them all."""

from __future__ import annotations

from gristmill.devices.cpu.lowering import (
    attention,
    conv,
    linear,
    movement,
    normalization,
    pooling,
    recurrent,
    reduction,
    resize,
    state,
)

FAMILIES = (attention, conv, linear, movement, normalization, pooling, recurrent, reduction, resize, state)
