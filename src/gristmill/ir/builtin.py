"""The one op that the representation itself needs: a constant."""

from __future__ import annotations

from gristmill.errors import IRError
from gristmill.ir.constants import Array, Constant
from gristmill.ir.op import Op
from gristmill.ir.opset import Opset
from gristmill.ir.program import Location
from gristmill.ir.traits import DataMovement
from gristmill.ir.types import Type


class const(Op):  # ops are named as MIL names them
    """A value that is known before the program runs; it stands in the attribute ``val``.

    Attributes:
        inline: The file has no op for it: it stands at its one use, as an operand's immediate value or as an attribute
            of its user. Names of such constants are made up, and nobody sees them.
    """

    traits = (DataMovement,)
    inline = False

    @classmethod
    def of(
        cls,
        opset: Opset,
        value: Constant,
        name: str,
        *,
        result_name: str | None = None,
        location: Location | None = None,
    ) -> const:
        """A constant op with one result, which is named like the op unless it has a name of its own."""
        names = None if result_name is None else (result_name,)
        return cls(opset, {}, name=name, result_names=names, attributes={"val": value}, location=location)

    @property
    def value(self) -> Constant:
        if "val" not in self.attributes:
            raise IRError("the constant has no value", op=self.title, expected="an attribute 'val'")
        return self.attributes["val"]

    def infer(self) -> Type:
        return self.value.type

    def result_contents(self) -> Array | None:
        value = self.value
        self.result.constant = value
        return value.contents

    def reference(self) -> Array:
        return self.value.numpy()
