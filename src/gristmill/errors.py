"""Every exception that Gristmill raises on purpose.

Each class derives from :class:`GristmillError` and from the builtin that users of coremltools catch in the same
situation, so ``except ValueError`` written years ago goes on working. An error carries its facts as attributes, so that
a program can use them, and prints them in a fixed order, so that a person finds them: what happened, in which op, at
which place of the source model, what was expected, what came instead, and what to do.
"""

from __future__ import annotations


class GristmillError(Exception):
    """Base of all errors of this package.

    Args:
        message: What happened, as one sentence without its final stop.
        op: The op concerned, as ``type 'name'`` or just a name.
        location: The place in the user's source model or file.
        expected: What would have been right.
        actual: What was found.
        hint: What the user can do about it.
    """

    def __init__(
        self,
        message: str,
        *,
        op: object = None,
        location: object = None,
        expected: object = None,
        actual: object = None,
        hint: str | None = None,
    ) -> None:
        self.message = message
        self.op = op
        self.location = location
        self.expected = expected
        self.actual = actual
        self.hint = hint
        super().__init__(message)

    def __str__(self) -> str:
        lines = [self.message]
        for label, fact in (
            ("op", self.op),
            ("at", self.location),
            ("expected", self.expected),
            ("actual", self.actual),
            ("hint", self.hint),
        ):
            if fact is not None:
                lines.append(f"  {label}: {fact}")
        return "\n".join(lines)


class FormatError(GristmillError, ValueError):
    """A file is malformed, truncated or hostile."""


class UnsupportedError(GristmillError, NotImplementedError):
    """Something valid that Gristmill does not do."""


class InputError(GristmillError, ValueError):
    """An argument of a public call, or an input of a prediction, is wrong."""


class InputTypeError(InputError, TypeError):
    """An argument of a public call has the wrong Python or element type."""


class MissingFileError(InputError, FileNotFoundError):
    """A file that the caller named is not there."""


class IRError(GristmillError, ValueError):
    """A program breaks a rule of the intermediate representation."""


class TypeInferenceError(IRError, TypeError):
    """The operands of an op do not fit its signature."""


class DimError(IRError):
    """A dimension expression cannot be formed, compared or evaluated."""


class ConversionError(GristmillError, RuntimeError):
    """A source model cannot be converted."""


class ExecutionError(GristmillError, RuntimeError):
    """A program failed while it ran."""


class StateError(ExecutionError):
    """A state was used in a way that its contract forbids."""
