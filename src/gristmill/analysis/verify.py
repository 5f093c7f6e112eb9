"""Holds a converted program against the model that it was made of, both run on the same inputs.

The program still in the source's own types must agree with the source: a difference there is a mistake of the
conversion, and is traced to the first operator that shows it. What float16 adds afterwards is rounding that the caller
chose; it is measured, and never an error.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from gristmill.analysis.cost import multiply_adds
from gristmill.devices.base import Observer
from gristmill.devices.reference import ReferenceDevice
from gristmill.errors import ConversionError, DimError, ExecutionError, InputError, UnsupportedError
from gristmill.ir.builtin import const
from gristmill.ir.clone import clone_program
from gristmill.ir.constants import Array
from gristmill.ir.dims import DimExpr, Symbol
from gristmill.ir.op import Op, RuntimeValue
from gristmill.ir.program import Program, Value
from gristmill.ir.traits import DataDependentShape, Random
from gristmill.ir.types import TensorType
from gristmill.precision.typing import TypingReport
from gristmill.runtime.session import Session

TOLERANCE = 1e-4
"""Largest difference in float32, relative to the largest magnitude of a result.

PyTorch rounds after every step and sums in an order of its own: deep networks are some 1e-6 from exact evaluation.
"""

WORK_LIMIT = 5e8
"""Multiply-adds up to which verification is on by default: about two seconds a run on the reference device."""

WEIGHT_LIMIT = 2e7
"""Weights up to which verification is on by default: the reference device widens them to float64, here 160 MB."""

_HINT = "this is a bug of Gristmill, please report it; verify=False converts without this check"


class VerificationError(ConversionError):
    """The converted program computes something else than its source."""


class Source(Protocol):
    """A source model with example inputs; names are those of the program."""

    @property
    def reason_to_skip(self) -> str | None:
        """Why a comparison is not possible, or says nothing."""

    def inputs(self) -> dict[str, Array]:
        """The example inputs."""

    def outputs(self) -> dict[str, Array]:
        """What the source returns for them."""

    def replay(self, computed: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
        """What each of the source's operators makes of operands that the program computed, in program order."""


@dataclass(frozen=True)
class Difference:
    """How far a result is from the source's.

    Attributes:
        largest: The largest difference of two elements.
        magnitude: The source's largest finite magnitude.
    """

    largest: float
    magnitude: float

    @property
    def relative(self) -> float:
        """The largest difference over the largest magnitude."""
        if self.largest == 0:
            return 0.0
        return self.largest / self.magnitude if self.magnitude else math.inf

    def __str__(self) -> str:
        return f"{self.relative:.2g} of the largest magnitude, {self.magnitude:.3g}"


@dataclass
class ConversionReport:
    """What verification of a conversion found.

    Attributes:
        float32: How far each output is from the source's before float16 typing.
        float16: The same for the finished model, whose float16 types round; empty where that was not measured.
        skipped: Why nothing was compared, or why what was found says nothing.
        typing: What float16 typing did: ops that stayed float32 and why, constants of which elements became zero.
    """

    float32: dict[str, Difference] = field(default_factory=dict)
    float16: dict[str, Difference] = field(default_factory=dict)
    skipped: str | None = None
    typing: TypingReport | None = None


def difference(actual: Array, expected: Array) -> Difference:
    """Compares two arrays of numbers.

    Elements that are equal, infinite ones too, do not differ, and nothing can be said where the source has no number.
    """
    if actual.shape != expected.shape:
        if actual.size != expected.size:  # a scalar has the shape (1,) at the interface
            return Difference(math.inf, 0.0)
        actual = actual.reshape(expected.shape)
    wide = np.complex128 if np.iscomplexobj(expected) else np.float64
    mine, theirs = np.asarray(actual, wide), np.asarray(expected, wide)
    finite = np.abs(theirs[np.isfinite(theirs)])
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(np.where((mine == theirs) | np.isnan(theirs), 0, mine - theirs))
    apart = np.where(np.isnan(apart), np.inf, apart)
    return Difference(float(apart.max(initial=0)), float(finite.max(initial=0)))


class Verification:
    """One conversion held against its source, on the source's example inputs.

    Args:
        lowered: The program as the frontend made it; copied, so that passes may change it.
        source: What it was made of.
        bounded: Runs nothing beyond ``WORK_LIMIT`` and ``WEIGHT_LIMIT``.

    Attributes:
        report: What was found so far.
    """

    def __init__(self, lowered: Program, source: Source, *, bounded: bool) -> None:
        self._source = source
        self.report = ConversionReport(skipped=source.reason_to_skip or _reason_to_skip(lowered))
        if self.report.skipped is not None:
            return
        self.inputs = source.inputs()
        self.report.skipped = _too_large(lowered, self.inputs) if bounded else None
        if self.report.skipped is not None:
            return
        try:
            self._expected = source.outputs()
        except Exception as error:  # PyTorch documents no set of errors, and they are not the conversion's
            self.report.skipped = f"the source model does not run on its example inputs: {error!r}"
        self._lowered = clone_program(lowered)

    def check(self, program: Program) -> None:
        """Compares the program after its passes, in the source's own types and with its interface.

        Raises:
            VerificationError: It differs from the source by more than ``TOLERANCE``, or fails where the source does
                not. The message names the first operator that is wrong.
        """
        if self.report.skipped is not None:
            return
        try:
            found = _run(program, self.inputs)
        except (InputError, UnsupportedError) as error:
            self.report.skipped = f"the program does not take the source's example inputs: {error.message}"
            return
        except ExecutionError as error:
            raise VerificationError(
                f"the program fails where its source does not: {error.message}",
                op=error.op,
                location=error.location,
                expected=error.expected,
                actual=error.actual,
                hint=_HINT,
            ) from error
        self.report.float32 = _differences(found, self._expected)
        wrong = [name for name, apart in self.report.float32.items() if apart.relative > TOLERANCE]
        if wrong:
            self._explain(program, wrong[0])
            self.report.skipped = (
                f"every operator agrees with the source by itself, but the model lets rounding grow: "
                f"output '{wrong[0]}' differs by {self.report.float32[wrong[0]]}"
            )
            warnings.warn(f"the conversion cannot be verified: {self.report.skipped}", stacklevel=3)

    def measure(self, program: Program, inputs: Mapping[str, Array] | None = None) -> None:
        """Notes how far the finished program is from the source; that is rounding, not a mistake.

        Args:
            program: The program after float16 typing. Outputs that the source does not have are left out.
            inputs: What the program gets in place of the example inputs, where its interface is another.
        """
        if self.report.skipped is None:
            self.report.float16 = _differences(_run(program, inputs or self.inputs), self._expected)

    def _explain(self, program: Program, output: str) -> None:
        """Finds what made an output wrong.

        Raises:
            VerificationError: The lowering of an operator, or a pass.
        """
        computed, ops, outputs = _observe(self._lowered, self.inputs)
        for name, theirs in self._source.replay(computed):
            apart = difference(computed[name], theirs)
            if apart.relative > TOLERANCE:
                raise _error("the lowering of an operator is wrong", ops[name], apart)
        if _differences(outputs, self._expected)[output].relative > TOLERANCE:
            return
        passed, ops, _ = _observe(program, self.inputs)
        for name, mine in passed.items():
            if name in computed and computed[name].shape == mine.shape:
                apart = difference(mine, computed[name])
                if apart.relative > TOLERANCE:
                    raise _error("a pass changed what the program computes", ops[name], apart)
        raise _error("a pass changed what the program computes", ops.get(output), self.report.float32[output])


def work(program: Program, inputs: Mapping[str, Array]) -> float:
    """Estimates the multiply-adds of one run, in which bodies of loops count once."""
    sizes: dict[str, int] = {}
    for value in program.main.inputs:
        if value.name in inputs and isinstance(value.type, TensorType):
            for dim, size in zip(value.shape, inputs[value.name].shape, strict=False):
                if isinstance(dim, Symbol):
                    sizes.setdefault(dim.name, size)
    return sum(op_work(op, sizes) for op in program.main.body.walk() if not isinstance(op, const))


def op_work(op: Op, sizes: Mapping[str, int]) -> float:
    """The same for one op; ``sizes`` are those of symbols, and sizes that are not known count as 1."""
    return multiply_adds(op, lambda value: _size(value, sizes))


def _size(value: Value, sizes: Mapping[str, int]) -> int:
    if not isinstance(value.type, TensorType):
        return 0
    count = 1
    for dim in value.shape:
        try:
            count *= dim.evaluate(sizes) if isinstance(dim, DimExpr) else dim
        except DimError:  # a size that only a run could tell
            continue
    return count


def _too_large(program: Program, inputs: Mapping[str, Array]) -> str | None:
    weights = sum(_size(op.result, {}) for op in program.main.body.walk() if isinstance(op, const))
    if weights > WEIGHT_LIMIT:
        return f"the model has {weights:.1g} weights, beyond {WEIGHT_LIMIT:.1g}; verify=True checks it anyway"
    amount = work(program, inputs)
    if amount > WORK_LIMIT:
        return f"a run takes some {amount:.1g} multiply-adds, beyond {WORK_LIMIT:.1g}; verify=True checks it anyway"
    return None


def _reason_to_skip(program: Program) -> str | None:
    if program.main.states:
        return "the model has states"
    for op in program.main.body.walk():
        if op.has(Random):
            return f"{op.title} is random"
        if op.has(DataDependentShape):
            return f"the size of the result of {op.title} depends on data"
    return None


def _fitting(program: Program, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The source's inputs in the types that the program declares, scalars as vectors of one."""
    fitting: dict[str, Array] = {}
    for value in program.main.inputs:
        array = inputs[value.name]
        with np.errstate(over="ignore"):
            fitting[value.name] = array.reshape(array.shape or (1,)).astype(value.dtype.numpy)
    return fitting


def _differences(found: Mapping[str, RuntimeValue], expected: Mapping[str, Array]) -> dict[str, Difference]:
    return {name: difference(np.asarray(found[name]), theirs) for name, theirs in expected.items() if name in found}


def _run(program: Program, inputs: Mapping[str, Array], observe: Observer | None = None) -> dict[str, RuntimeValue]:
    return Session(program.main, ReferenceDevice()).run(_fitting(program, inputs), observe=observe)


def _observe(
    program: Program, inputs: Mapping[str, Array]
) -> tuple[dict[str, Array], dict[str, Op], dict[str, RuntimeValue]]:
    """Every tensor that one run of the main block makes, which op makes it, and the outputs."""
    computed: dict[str, Array] = {}
    ops: dict[str, Op] = {}

    def observe(op: Op, results: list[RuntimeValue]) -> None:
        if op.block is program.main.body:
            for value, result in zip(op.results, results, strict=True):
                if isinstance(result, np.ndarray):
                    computed[value.name], ops[value.name] = result, op

    outputs = _run(program, inputs, observe)
    return computed, ops, outputs


def _error(message: str, op: Op | None, apart: Difference) -> VerificationError:
    return VerificationError(
        message,
        op=op.title if op is not None else None,
        location=op.location if op is not None else None,
        expected=f"a difference of at most {TOLERANCE:g} of the largest magnitude",
        actual=str(apart),
        hint=_HINT,
    )
