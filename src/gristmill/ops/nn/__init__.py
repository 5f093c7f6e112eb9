"""Ops that layers of neural networks need and MIL lacks; importing this package registers them.

They run like all others, but no file of an ML Program can hold them.
"""

from __future__ import annotations

from gristmill.ir import registry
from gristmill.ops.nn import custom, detection, elementwise, recurrent, shape

FAMILIES = (custom, detection, elementwise, recurrent, shape)

for _family in FAMILIES:
    registry.register(*_family.OPS)
