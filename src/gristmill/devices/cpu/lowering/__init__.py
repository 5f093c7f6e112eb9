"""How ops become native kernel calls, a family in each file; importing this package registers them all."""

from __future__ import annotations

from gristmill.devices.cpu.lowering import (
    attention,
    conv,
    indexed,
    linear,
    masks,
    movement,
    normalization,
    ordering,
    pooling,
    rearrange,
    recurrent,
    reduction,
    resize,
    state,
)

FAMILIES = (
    attention,
    conv,
    indexed,
    linear,
    masks,
    movement,
    normalization,
    ordering,
    pooling,
    rearrange,
    recurrent,
    reduction,
    resize,
    state,
)
