"""What a program's types do to its values: one instrumented run beside a shadow in a wide type.

For every op: range, overflow, underflow and NaN; the error that the op makes alone and the one that has gathered up to
it; where numbers are lost first, by which operand; and which op has how much of the outputs' error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from gristmill.analysis.attribution import attribute
from gristmill.analysis.lockstep import Lockstep, Pair, Step, pairs_of
from gristmill.analysis.metrics import ErrorFigures
from gristmill.analysis.wide import Evaluator, Float32, Float64
from gristmill.errors import InputError
from gristmill.ir.constants import Array
from gristmill.ir.op import Op
from gristmill.ir.program import Function, Location, Program, Value
from gristmill.ir.types import fp16
from gristmill.precision.map import name_of

LARGEST = 65504.0
"""Float16's largest number; what rounds to more is infinite."""

VANISHING = 2.0**-25
"""What is not larger than this rounds to zero in float16."""


@dataclass
class Ledger:
    """What was counted at one op.

    Attributes:
        op: Which one.
        local: Its results on the declared run's operands, rounded, beside exact ones.
        rounding: The part of that which is the rounding of the result; the rest is that of constants.
        accumulated: Its results in the declared run beside the shadow's.
        inherited: By how much each operand's error alone changes the results.
        rounded: The same of the operand's own rounding alone.
        broken_operands: Operands that hold no finite number where the shadow has one.
        loses: Whether numbers become infinite or NaN here: the operands are finite, or hold no NaN.
        runs: How often the op ran: once for each sample and round of a loop.
    """

    op: Op
    local: ErrorFigures = field(default_factory=ErrorFigures)
    rounding: ErrorFigures = field(default_factory=ErrorFigures)
    accumulated: ErrorFigures = field(default_factory=ErrorFigures)
    inherited: dict[Value, float] = field(default_factory=dict)
    rounded: dict[Value, float] = field(default_factory=dict)
    broken_operands: set[Value] = field(default_factory=set)
    loses: bool = False
    runs: int = 0


@dataclass
class OpReport:
    """One op of an inspected program.

    Attributes:
        op: Its type, such as ``reduce_mean``.
        name: Its name.
        type: Declared type of its (first floating) result.
        location: Where it comes from in the source model.
        low: The smallest finite value of the shadow.
        high: The largest.
        count: Elements that were seen.
        overflow: Share beyond ±65504 in the shadow, or infinite in the declared run alone.
        underflow: Share that is not zero in the shadow, and zero in float16.
        nan: Share that is NaN in the declared run.
        local: The error that this op alone makes: rounded beside exact, on the same operands in their declared types.
        accumulated: The error of everything up to here: the declared run beside the shadow.
        share: Of the outputs' error, as far as it comes from here.
    """

    op: str
    name: str
    type: str
    location: Location | None
    local: ErrorFigures
    accumulated: ErrorFigures
    low: float = math.inf
    high: float = -math.inf
    count: int = 0
    overflow: float = 0.0
    underflow: float = 0.0
    nan: float = 0.0
    share: float = 0.0

    @property
    def title(self) -> str:
        """Type and name."""
        return f"{self.op} '{self.name}'"

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "op": self.op,
            "name": self.name,
            "type": self.type,
            "location": None if self.location is None else str(self.location),
            "low": self.low,
            "high": self.high,
            "overflow": self.overflow,
            "underflow": self.underflow,
            "nan": self.nan,
            "local": self.local.as_dict(),
            "accumulated": self.accumulated.as_dict(),
            "share": self.share,
        }


@dataclass(frozen=True)
class Culprit:
    """An op, the operand to blame, and why.

    Attributes:
        op: Type and name.
        operand: Field of the operand; empty where none is to blame.
        why: One sentence.
        location: Where the op comes from in the source model.
    """

    op: str
    operand: str
    why: str
    location: Location | None = None

    def __str__(self) -> str:
        place = f"\n  at: {self.location}" if self.location is not None else ""
        operand = f" (operand '{self.operand}')" if self.operand else ""
        return f"{self.op}{operand}: {self.why}{place}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        location = None if self.location is None else str(self.location)
        return {"op": self.op, "operand": self.operand, "why": self.why, "location": location}


@dataclass
class Inspection:
    """What one instrumented run, or several, found.

    Attributes:
        shadow: The shadow's type.
        rows: One for each op with floating results, in the order in which they ran first.
        outputs: Error of each floating output.
        first_overflow: The op where a finite number became infinite first.
        first_nan: The op where NaN appeared first.
        culprit: The op that has most of the outputs' error; ``None`` where there is no error.
        amplifier: The op at which the error grows most beside those of its operands, as by cancellation; ``None`` where
            it grows by less than 10 dB anywhere.
        ledgers: What was counted, by op, for those who look for a remedy.
    """

    shadow: str
    rows: list[OpReport]
    outputs: dict[str, ErrorFigures]
    first_overflow: Culprit | None = None
    first_nan: Culprit | None = None
    culprit: Culprit | None = None
    amplifier: Culprit | None = None
    ledgers: Mapping[Op, Ledger] = field(default_factory=dict, repr=False)

    def row(self, name: str) -> OpReport:
        """The row of an op.

        Raises:
            InputError: There is none of this name.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise InputError(f"no op with floating results is called '{name}'", expected="a name of a row", actual=name)

    def worst(self, count: int = 10) -> list[OpReport]:
        """The ops that have most of the outputs' error."""
        return sorted(self.rows, key=lambda row: -row.share)[:count]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, as JSON has them but for infinities and NaN."""
        return {
            "shadow": self.shadow,
            "outputs": {name: found.as_dict() for name, found in self.outputs.items()},
            "first_overflow": self.first_overflow.as_dict() if self.first_overflow else None,
            "first_nan": self.first_nan.as_dict() if self.first_nan else None,
            "culprit": self.culprit.as_dict() if self.culprit else None,
            "amplifier": self.amplifier.as_dict() if self.amplifier else None,
            "ops": [row.as_dict() for row in self.rows],
        }

    def table(self, count: int | None = None) -> str:
        """The rows as text.

        Args:
            count: Only so many, those with the largest shares of the error, in the program's order; all when left out.
        """
        shown = self.rows
        if count is not None:
            chosen = {id(row) for row in self.worst(count)}
            shown = [row for row in self.rows if id(row) in chosen]
        heads = ("op", "name", "type", "range", "over", "under", "nan", "local dB", "gathered dB", "share")
        cells = [heads, *(_cells(row) for row in shown)]
        widths = [max(len(line[column]) for line in cells) for column in range(len(heads))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
        ]
        lines += [f"output {name}: {found.snr_db:.1f} dB" for name, found in self.outputs.items()]
        lines += [f"{label}: {found}" for label, found in self.findings()]
        return "\n".join(lines)

    def findings(self) -> Iterator[tuple[str, Culprit]]:
        """What people should know first, with a label each."""
        for label, found in (
            ("first overflow", self.first_overflow),
            ("first NaN", self.first_nan),
            ("most of the error", self.culprit),
            ("grows most", self.amplifier),
        ):
            if found is not None:
                yield label, found

    def __str__(self) -> str:
        return self.table()


def _cells(row: OpReport) -> tuple[str, ...]:
    shares = [f"{share:.1%}" if share else "" for share in (row.overflow, row.underflow, row.nan)]
    spread = f"{row.low:.3g} … {row.high:.3g}" if row.low <= row.high else "no finite number"
    figures = [f"{f.snr_db:.1f}" for f in (row.local, row.accumulated)]
    return (row.op, row.name, row.type, spread, *shares, *figures, f"{row.share:.1%}" if row.share >= 5e-4 else "")


def inspect(
    program: Program | Function,
    inputs: Mapping[str, Array] | Sequence[Mapping[str, Array]],
    shadow: Literal["float32", "float64"] = "float32",
    *,
    heal: bool = False,
) -> Inspection:
    """Runs a program in its declared types beside a shadow that computes everything in a wide type.

    Time is that of a few runs of each op, whatever the program's size; memory that of two runs.

    Args:
        program: A program, whose main function is inspected, or a function.
        inputs: An array for each tensor input by name, or several such dictionaries, which are all counted.
        shadow: ``float32``, with native kernels, or ``float64``, by the ops' own definitions, which takes longer.
        heal: Goes on with the shadow's value wherever a number is lost, so that one run shows all places where that
            happens; what has gathered up to an op then leaves out what was mended.

    Raises:
        InputError: There are no inputs, one is missing or does not fit, or the shadow has another name.
    """
    if shadow not in ("float32", "float64"):
        raise InputError("a shadow is float32 or float64", actual=shadow)
    function = program.main if isinstance(program, Program) else program
    samples = [inputs] if isinstance(inputs, Mapping) else list(inputs)
    if not samples:
        raise InputError("there are no samples to inspect", expected="an array for each input, or a list of such")
    evaluator: Evaluator = Float32() if shadow == "float32" else Float64()
    recorder = _Recorder()
    outputs: dict[str, ErrorFigures] = {}
    run = Lockstep(function, evaluator, recorder.observe, heal=heal)
    for sample in samples:
        for value, pair in zip(function.outputs, run.run(sample), strict=True):
            if isinstance(pair.typed, np.ndarray) and pair.typed.dtype.kind == "f":
                _compare(outputs.setdefault(value.name, ErrorFigures()), pair.typed, pair.shadow)
    shares = attribute(function, recorder.ledgers, outputs)
    for op, row in recorder.rows.items():
        row.share = shares.get(op, 0.0)
    return Inspection(
        shadow,
        list(recorder.rows.values()),
        outputs,
        recorder.first_overflow,
        recorder.first_nan,
        recorder.culprit(shares, outputs),
        recorder.amplifier(shares),
        recorder.ledgers,
    )


class _Recorder:
    """Counts what an instrumented run shows."""

    def __init__(self) -> None:
        self.rows: dict[Op, OpReport] = {}
        self.ledgers: dict[Op, Ledger] = {}
        self.first_overflow: Culprit | None = None
        self.first_nan: Culprit | None = None
        self._losses: dict[Op, Culprit] = {}

    def observe(self, step: Step) -> None:
        op = step.op
        if op not in self.ledgers:
            self.ledgers[op] = Ledger(op)
            kind = next(str(r.type) for r in op.results if r.dtype.is_float)
            accounts = self.ledgers[op]
            self.rows[op] = OpReport(op.op_name, name_of(op), kind, op.location, accounts.local, accounts.accumulated)
        ledger, row = self.ledgers[op], self.rows[op]
        ledger.runs += 1
        for value, exact, unrounded, typed, shadow in zip(
            op.results, step.exact, step.unrounded, step.typed, step.shadow, strict=True
        ):
            if value.dtype.is_float:
                _compare(ledger.local, typed, exact)
                _compare(ledger.rounding, typed, unrounded)
                _compare(ledger.accumulated, typed, shadow)
                _count(row, typed, shadow)
        for value, (energy, rounding) in step.inherited.items():
            ledger.inherited[value] = ledger.inherited.get(value, 0.0) + energy
            ledger.rounded[value] = ledger.rounded.get(value, 0.0) + rounding
        self._note_losses(step, ledger)

    def _note_losses(self, step: Step, ledger: Ledger) -> None:
        floats = [pair for _, _, pair in pairs_of(step)]
        for _, value, pair in pairs_of(step):
            if _lost(pair.typed, pair.shadow).any():
                ledger.broken_operands.add(value)
        made = [
            Pair(a, b) for a, b, r in zip(step.typed, step.shadow, step.op.results, strict=True) if r.dtype.is_float
        ]
        infinite = any((np.isinf(pair.typed) & np.isfinite(pair.shadow)).any() for pair in _same_shapes(made))
        if infinite and not any(np.isinf(pair.typed).any() for pair in floats):
            self._note_loss(step, ledger, why_infinite(step))
            self.first_overflow = self.first_overflow or why_infinite(step)
        nan = any((np.isnan(pair.typed) & ~np.isnan(pair.shadow)).any() for pair in _same_shapes(made))
        if nan and not any(np.isnan(pair.typed).any() for pair in floats):
            self._note_loss(step, ledger, why_nan(step))
            self.first_nan = self.first_nan or why_nan(step)

    def _note_loss(self, step: Step, ledger: Ledger, why: Culprit) -> None:
        """Numbers get lost here, unless an operand is so wrong already that this was bound to come."""
        ledger.broken_operands |= {value for _, value, pair in pairs_of(step) if _is_misled(pair)}
        if not ledger.broken_operands:
            ledger.loses = True
            self._losses.setdefault(step.op, why)

    def culprit(self, shares: Mapping[Op, float], outputs: Mapping[str, ErrorFigures]) -> Culprit | None:
        op = max((op for op in shares if op in self.ledgers), key=lambda op: shares[op], default=None)
        if op is None or not shares[op]:
            return None
        if op in self._losses:
            return self._losses[op]
        ledger = self.ledgers[op]
        gathered = min((found.snr_db for found in outputs.values()), default=math.inf)
        what = "the rounding of its result"
        if ledger.local.noise > 4 * ledger.rounding.noise:
            what = "the rounding of its constants"
        why = (
            f"{what} ({ledger.local.snr_db:.0f} dB by itself) has {shares[op]:.0%} of the outputs' error, "
            f"which is at {gathered:.0f} dB"
        )
        row = self.rows[op]
        if row.underflow > 0.01:
            why += f"; {row.underflow:.0%} of it becomes zero"
        return Culprit(op.title, "", why, op.location)

    def amplifier(self, shares: Mapping[Op, float]) -> Culprit | None:
        """The op at which a finite error grows most: of those through which the outputs' error went."""
        ratios = {r: ledger.accumulated.ratio for op, ledger in self.ledgers.items() for r in op.results}
        most, found = _GROWTH, None
        for op in shares:
            ledger = self.ledgers.get(op)
            if ledger is None or not ledger.inherited or math.isinf(ledger.accumulated.ratio):
                continue
            before = max(ledger.local.ratio, *(ratios.get(value, 0.0) for value in ledger.inherited))
            growth = ledger.accumulated.ratio / before if before else 0.0
            if growth > most:
                most, found = growth, (op, before, ledger)
        if found is None:
            return None
        op, before, ledger = found
        slot = max(op.uses(), key=lambda use: ledger.inherited.get(use[2], 0.0))[0]
        after = ledger.accumulated.snr_db
        why = f"the error that comes with its operands, at {-10 * math.log10(before):.0f} dB, is at {after:.0f} dB here"
        return Culprit(op.title, slot, why, op.location)


_GROWTH = 10.0
"""From such a growth of noise over signal on an op counts as an amplifier."""


def _same_shapes(pairs: Sequence[Pair]) -> Iterator[Pair]:
    return (pair for pair in pairs if pair.typed.shape == pair.shadow.shape)


def _compare(account: ErrorFigures, actual: Array, expected: Array) -> None:
    """Adds what can be compared: where sizes depend on data, the runs may part."""
    if actual.shape == expected.shape:
        account.add(actual, expected)


def _lost(typed: Array, shadow: Array) -> Array:
    if typed.shape != shadow.shape:
        return np.zeros(1, bool)
    return np.isfinite(shadow) & ~np.isfinite(typed)


def _is_misled(pair: Pair) -> bool:
    """Whether an operand has the wrong sign, or is zero, where the shadow has one of its larger numbers."""
    if pair.typed.shape != pair.shadow.shape:
        return False
    size = np.abs(pair.shadow)
    held = (size > max(2 * VANISHING, 0.05 * _peak(pair.shadow))) & (size <= LARGEST) & np.isfinite(pair.typed)
    return bool(np.any(held & (np.sign(pair.typed) != np.sign(pair.shadow))))


def _count(row: OpReport, typed: Array, shadow: Array) -> None:
    if not shadow.size:
        return
    size = np.abs(shadow)
    finite = shadow[np.isfinite(shadow)]
    over = np.isfinite(shadow) & (size > LARGEST)
    under = (shadow != 0) & (size <= VANISHING)
    if typed.shape == shadow.shape:
        over |= np.isinf(typed) & np.isfinite(shadow)
        under |= (shadow != 0) & (typed == 0)
    total = row.count + shadow.size
    row.overflow = (row.overflow * row.count + np.count_nonzero(over)) / total
    row.underflow = (row.underflow * row.count + np.count_nonzero(under)) / total
    row.nan = (row.nan * row.count + np.count_nonzero(np.isnan(typed))) / total
    row.count = total
    if finite.size:
        row.low, row.high = min(row.low, float(finite.min())), max(row.high, float(finite.max()))


# --- reasons ---------------------------------------------------------------------------------------------------------


def why_infinite(step: Step) -> Culprit:
    """Which operand makes a result too large for its type."""
    op = step.op
    peak = max((_peak(shadow) for shadow in step.shadow if shadow.dtype.kind == "f"), default=math.inf)
    limit = LARGEST if op.results[0].dtype == fp16 else float(np.finfo(np.float32).max)
    places = [(slot, pair) for slot, _, pair in pairs_of(step) if pair.typed.size]
    if not places:
        return Culprit(op.title, "", f"its values reach {peak:.3g}, the type ends at {limit:.6g}", op.location)
    slot, pair = _to_blame(places, peak)
    low, high = float(np.min(pair.shadow)), float(np.max(pair.shadow))
    why = f"'{slot}' lies in [{low:.3g}, {high:.3g}], so the result reaches {peak:.3g}; the type ends at {limit:.6g}"
    return Culprit(op.title, slot, why, op.location)


def _to_blame(places: Sequence[tuple[str, Pair]], peak: float) -> tuple[str, Pair]:
    """The operand with the largest numbers, or the one nearest to zero where something must have been divided by it."""
    by_size = sorted(places, key=lambda place: _peak(place[1].shadow))
    product = math.prod(max(1.0, _peak(pair.shadow)) for _, pair in places)
    if len(places) > 1 and peak > product * max(1, max(pair.typed.size for _, pair in places)):
        return min(places, key=lambda place: float(np.abs(place[1].shadow).min()))
    return by_size[-1]


def why_nan(step: Step) -> Culprit:
    """Which operand makes NaN of a result."""
    op = step.op
    for slot, _, pair in pairs_of(step):
        infinite = np.isinf(pair.typed)
        if infinite.any():
            signs = (
                "-inf" if (pair.typed[infinite] < 0).all() else "inf" if (pair.typed[infinite] > 0).all() else "±inf"
            )
            size = _peak(pair.shadow)
            whole = pair.typed.ndim and infinite.all(axis=-1).any()
            why = f"'{slot}' is {signs}" + (" along whole rows" if whole else "")
            why += f", where the shadow has values up to ±{size:.3g}" if math.isfinite(size) else ""
            return Culprit(op.title, slot, why, op.location)
    vanished = {
        slot: _peak(pair.shadow[(pair.typed == 0) & (pair.shadow != 0)])
        for slot, _, pair in pairs_of(step)
        if pair.typed.shape == pair.shadow.shape and ((pair.typed == 0) & (pair.shadow != 0)).any()
    }
    if vanished:
        slot = max(vanished, key=lambda slot: vanished[slot])
        why = f"'{slot}' is 0, where the shadow has values up to {vanished[slot]:.3g}"
        return Culprit(op.title, slot, why, op.location)
    return Culprit(op.title, "", "its operands are finite numbers, for which it has no result", op.location)


def _peak(array: Array) -> float:
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max(initial=0)) if finite.size else math.inf
