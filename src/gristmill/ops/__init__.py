"""The ops of Core ML's programs, a family in each file; importing this package registers them all."""

from __future__ import annotations

from gristmill.ir import registry
from gristmill.ops import activation, conv, pooling

FAMILIES = (activation, conv, pooling)

for _family in FAMILIES:
    registry.register(*_family.OPS)
