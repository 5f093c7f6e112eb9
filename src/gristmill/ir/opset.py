"""The generations of the operation set.

Core ML names a generation in three ways: by the iOS release (`ios17` in MIL text), by a specification version (8, in
the protobuf message), and by `CoreML7` (the name of a block specialisation in the protobuf message).
"""

from __future__ import annotations

import enum
from typing import Self

from gristmill.errors import FormatError


class Opset(enum.IntEnum):
    """A generation of the operation set; the number is Core ML's specification version."""

    iOS13 = 4
    iOS14 = 5
    iOS15 = 6
    iOS16 = 7
    iOS17 = 8
    iOS18 = 9
    iOS26 = 10

    @property
    def text_name(self) -> str:
        """The name in MIL text, such as ``ios17``."""
        return self.name.lower()

    @property
    def proto_name(self) -> str:
        """The name in a protobuf program, such as ``CoreML7``."""
        return f"CoreML{self.value - 1}"

    @classmethod
    def parse(cls, name: str) -> Self:
        """Reads either spelling.

        Raises:
            FormatError: The name is of no generation that is known here.
        """
        for opset in cls:
            if name in (opset.text_name, opset.proto_name, opset.name):
                return opset
        known = ", ".join(f"{o.text_name} ({o.proto_name})" for o in cls)
        raise FormatError("unknown operation set", expected=known, actual=name)

    def __str__(self) -> str:
        return self.name


iOS13, iOS14, iOS15, iOS16, iOS17, iOS18, iOS26 = Opset
