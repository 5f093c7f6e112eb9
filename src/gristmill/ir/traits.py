"""What passes and devices may know of an op without knowing its name."""

from __future__ import annotations


class Trait:
    """Base of all traits; an op lists the classes themselves."""


class Elementwise(Trait):
    """Each element of the result depends on the elements at its own (broadcast) place only."""


class Commutative(Trait):
    """The operands ``x`` and ``y`` may be exchanged."""


class Exact(Trait):
    """Computes without rounding in any type: moves, compares, selects, or is integer arithmetic.

    Its ``reference`` receives arrays in their declared types. All other ops receive floating operands as float64 and
    their results are rounded once to the declared type.
    """


class DataMovement(Exact):
    """Every element of the result is an element of an operand, or a given filling."""


class Reshapes(DataMovement):
    """The result holds the operand's elements in the same order under another shape."""


class Reduction(Trait):
    """Combines the elements along axes into one."""


class Contraction(Trait):
    """Sums products: matrix products, convolutions."""


class Normalization(Trait):
    """Subtracts a mean or divides by a norm that it computes itself."""


class Pooling(Trait):
    """Combines the elements of sliding windows."""


class ShapeArithmetic(Trait):
    """Its ``reference`` also works on object arrays of dimension expressions, so inference follows shapes through."""


class Random(Trait):
    """The result differs from call to call: not to be folded, merged, or moved across another random op."""


class Decompresses(Trait):
    """Makes a dense constant of a compressed one; its operands are constants."""


class AttributesOnly(Decompresses):
    """Its operands stand among its attributes in files of every opset; those of the others do until iOS18."""


class ControlFlow(Trait):
    """Holds blocks and decides which of them run, and how often."""


class DataDependentShape(Trait):
    """The result's size depends on the operands' values."""


class ReadsState(Trait):
    """Reads a state: stays in order with writes of the same state."""


class WritesState(Trait):
    """Writes a state: is never dead, and stays in order with reads and writes of the same state."""
