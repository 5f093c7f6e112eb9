"""Placing a function: rules say what can run where, `assignment` finds what costs least, and the result is a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gristmill.devices.base import Refusal
from gristmill.devices.reference import ReferenceDevice
from gristmill.errors import InputError, UnsupportedError
from gristmill.ir.builtin import const
from gristmill.ir.op import Op
from gristmill.ir.program import Block, Function, Value
from gristmill.ir.traits import Contraction, Decompresses
from gristmill.ir.types import StateType, TensorType, unit_float
from gristmill.runtime.assignment import HOME, Flow, Problem, Solution, destinations, solve
from gristmill.runtime.plan import CPU, UNITS, Placement, Plan, Segment, Transfer
from gristmill.runtime.scopes import needs
from gristmill.runtime.targets import HOST, Speed, Target, target_named
from gristmill.runtime.work import Work, bytes_of, follows_from_sizes, work_of

COMPUTE_UNITS: Final[Mapping[str, tuple[str, ...]]] = {
    "ALL": UNITS,
    "CPU_ONLY": (CPU,),
    "CPU_AND_GPU": (CPU, "gpu"),
    "CPU_AND_NE": (CPU, "neural_engine"),
}
"""Units of a choice, by the names of ``ComputeUnit``."""

_TICKS: Final = 1e12
"""Ticks per second: costs are ints while units are assigned."""


def partition(
    function: Function,
    target: str | Target | None = None,
    compute_units: Any = "ALL",
    *,
    sizes: Mapping[str, int] | None = None,
) -> Plan:
    """Places every op of a function on a unit of a chip, at the least estimated time.

    The CPU holds inputs, outputs and constants, and may always be used. An op with blocks is placed with all that it
    holds. Constants cost nothing, nor does what decompresses them or what only computes sizes.

    Args:
        function: What to place; it stays as it is.
        target: A chip by name, such as ``A17``; this computer when left out.
        compute_units: ``ALL``, ``CPU_ONLY``, ``CPU_AND_GPU`` or ``CPU_AND_NE`` as text or as ``ComputeUnit``, or a
            tuple of units. Those that the target does not have are left out.
        sizes: Values of symbols in shapes, by name, to estimate costs with.

    Returns:
        The plan: exact for two units as far as its ``bound`` says.

    Raises:
        InputError: There is no such target or choice of units.
        UnsupportedError: No unit runs one of the ops.
    """
    chip = target_named(target)
    units = tuple(unit for unit in chosen_units(compute_units) if unit in chip.units)
    ops = [op for op in function.body if not _is_constant(op)]
    candidates = [_candidate(op, chip, units, sizes) for op in ops]
    problem = _Builder(function, chip, units, candidates, sizes)
    return problem.plan(solve(problem.problem()))


def chosen_units(choice: Any) -> tuple[str, ...]:
    """The units that a choice allows, the CPU first.

    Raises:
        InputError: There is no such choice.
    """
    name = choice if isinstance(choice, str) else getattr(choice, "name", None)
    if isinstance(name, str) and name in COMPUTE_UNITS:
        return COMPUTE_UNITS[name]
    if name is None and isinstance(choice, Sequence) and choice and set(choice) <= set(UNITS):
        return tuple(unit for unit in UNITS if unit == CPU or unit in choice)
    raise InputError("there is no such choice of units", expected=", ".join(COMPUTE_UNITS), actual=choice)


# --- ops -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Candidate:
    """An op with what each unit says of it."""

    op: Op
    work: Work
    costs: Mapping[str, float]
    refusals: Mapping[str, Refusal]
    only_sizes: bool


def _candidate(op: Op, chip: Target, units: Sequence[str], sizes: Mapping[str, int] | None) -> _Candidate:
    refusals = {unit: found for unit in units if (found := _refusal(op, chip, unit)) is not None}
    if op.results and all(map(follows_from_sizes, op.results)):
        # Nothing is computed, so integers and sizes do not matter; but what reads a float32 tensor stays off for good.
        refusals = refusals if any(map(_is_wide, op.operands.values())) else {}
        costs = {unit: 0.0 for unit in units if unit not in refusals}
        return _Candidate(op, Work(0, 0), costs, refusals, only_sizes=True)
    if len(refusals) == len(units):
        first = next(iter(refusals.values()))
        raise UnsupportedError(first.reason, op=op.title, location=op.location, hint=first.fix)
    work = work_of(op, sizes)
    costs = {unit: _seconds(op, work, chip.units[unit]) for unit in units if unit not in refusals}
    return _Candidate(op, work, costs, refusals, only_sizes=False)


def _refusal(op: Op, chip: Target, unit: str) -> Refusal | None:
    found: Refusal | None = chip.refusal(op, unit)
    untyped = any(isinstance(r.type, TensorType) and r.type.dtype == unit_float for r in op.results)
    if found is None and chip.name == HOST and not untyped:  # which gets its type from the unit
        found = ReferenceDevice().supports(op)
    return found


def _is_wide(operand: Value | tuple[Value, ...]) -> bool:
    values = operand if isinstance(operand, tuple) else (operand,)
    types = [value.type for value in values if isinstance(value.type, TensorType)]
    return any(kind.dtype.is_float and kind.dtype.bits > 16 and kind.dtype != unit_float for kind in types)


def _seconds(op: Op, work: Work, speed: Speed) -> float:
    """A roofline: arithmetic or memory, whichever takes longer."""
    if not op.has(Contraction):
        return work.bytes / speed.bandwidth
    narrow = all(r.dtype.bits <= 16 for r in op.results if isinstance(r.type, TensorType))
    return max(work.flops / (speed.flops if narrow else speed.flops32), work.bytes / speed.link)


def _is_constant(op: Op) -> bool:
    """Whether an op's results are known before the program runs."""
    return isinstance(op, const) or op.has(Decompresses)


def _is_free(value: Value) -> bool:
    """Whether a value is everywhere already: constants, and states, which all units see in one memory."""
    made = value.producer
    return value.is_constant or isinstance(value.type, StateType) or (made is not None and _is_constant(made))


# --- the problem and its solution ------------------------------------------------------------------------------------


@dataclass
class _Builder:
    """Numbers ops and values for `assignment`, and reads its solution."""

    function: Function
    chip: Target
    units: tuple[str, ...]
    candidates: Sequence[_Candidate]
    sizes: Mapping[str, int] | None
    values: list[Value] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)

    def problem(self) -> Problem:
        number = {candidate.op: index for index, candidate in enumerate(self.candidates)}
        before: list[set[int]] = [set() for _ in self.candidates]
        users: dict[Value, list[int]] = {value: [] for value in self.function.inputs}
        last_access: dict[Value, int] = {}
        for index, candidate in enumerate(self.candidates):
            for value in needs(candidate.op):
                if value.producer in number:
                    before[index].add(number[value.producer])
                if not _is_free(value) and not candidate.only_sizes:
                    users.setdefault(value, []).append(index)
            for state in _states(candidate.op):  # accesses of one state stay in order
                if state in last_access:
                    before[index].add(last_access[state])
                last_access[state] = index
        for value, found in users.items():
            self._add_flow(value, found, number)
        for value in dict.fromkeys(self.function.outputs):
            if value not in users and not _is_free(value):
                self._add_flow(value, [], number)
        return Problem(
            costs=[tuple(self._ticks(c.costs.get(unit)) for unit in self.units) for c in self.candidates],
            flows=self.flows,
            before=[sorted(needed) for needed in before],
            launches=[int(self.chip.units[unit].launch * _TICKS) for unit in self.units],
        )

    def _add_flow(self, value: Value, users: Sequence[int], number: Mapping[Op, int]) -> None:
        producer = None if value.producer is None else number.get(value.producer)
        free = _is_free(value) or (producer is not None and self.candidates[producer].only_sizes)
        home = any(output is value for output in self.function.outputs)
        if free or not (users or home):
            return
        costs = tuple(int(self._transfer(value, unit) * _TICKS) for unit in self.units)
        self.values.append(value)
        self.flows.append(Flow(producer, tuple(dict.fromkeys(users)), home, costs))

    def _transfer(self, value: Value, unit: str) -> float:
        speed = self.chip.units[unit]
        return speed.transfer + bytes_of(value, self.sizes) / speed.link

    @staticmethod
    def _ticks(seconds: float | None) -> int | None:
        return None if seconds is None else int(seconds * _TICKS)

    def plan(self, solution: Solution) -> Plan:
        segment_of = {op: index for index, segment in enumerate(solution.segments) for op in segment}
        placements: list[Placement] = []
        for index, candidate in enumerate(self.candidates):
            unit = self.units[solution.units[index]]
            placements.append(self._placement(candidate, unit, segment_of[index]))
            placements += self._held(candidate.op, unit, segment_of[index])
        return Plan(
            function=self.function,
            target=self.chip,
            units=self.units,
            placements=tuple(placements),
            segments=tuple(self._segments(solution)),
            transfers=tuple(self._transfers(solution)),
            cost=solution.cost / _TICKS,
            bound=None if solution.bound is None else solution.bound / _TICKS,
        )

    def _placement(self, candidate: _Candidate, unit: str, segment: int) -> Placement:
        return Placement(
            op=candidate.op,
            unit=unit,
            supported=tuple(candidate.costs),
            refusals=candidate.refusals,
            cost=candidate.costs[unit],
            costs=candidate.costs,
            flops=candidate.work.flops,
            bytes=candidate.work.bytes,
            segment=segment,
        )

    def _held(self, op: Op, unit: str, segment: int) -> Iterator[Placement]:
        """Ops in blocks run where the op that holds them runs."""
        for inner in (inner for block in op.blocks for inner in block.walk() if not _is_constant(inner)):
            refusals = {u: found for u in self.units if (found := _refusal(inner, self.chip, u)) is not None}
            supported = tuple(u for u in self.units if u not in refusals)
            work = work_of(inner, self.sizes)
            yield Placement(inner, unit, supported, refusals, 0.0, {}, work.flops, work.bytes, segment)

    def _segments(self, solution: Solution) -> Iterator[Segment]:
        for index, numbers in enumerate(solution.segments):
            ops = [self.candidates[number].op for number in numbers]
            inside = set(ops)
            unit = self.units[solution.units[numbers[0]]]
            needed = dict.fromkeys(value for op in ops for value in needs(op))
            made = [value for op in ops for value in op.results]
            yield Segment(
                index=index,
                unit=unit,
                ops=tuple(ops),
                inputs=tuple(v for v in needed if v.producer not in inside and not _is_known(v)),
                outputs=tuple(value for value in made if _is_used_outside(value, inside, self.function.body)),
                cost=self.chip.units[unit].launch + sum(self.candidates[n].costs[unit] for n in numbers),
            )

    def _transfers(self, solution: Solution) -> Iterator[Transfer]:
        for value, flow in zip(self.values, self.flows, strict=True):
            source = HOME if flow.producer is None else solution.units[flow.producer]
            for unit in sorted(destinations(flow, solution.units) - {source}):
                name = self.units[unit]
                seconds = self._transfer(value, name)
                yield Transfer(value, self.units[source], name, bytes_of(value, self.sizes), seconds)


def _is_known(value: Value) -> bool:
    return value.is_constant or (value.producer is not None and _is_constant(value.producer))


def _states(op: Op) -> set[Value]:
    """States that an op or anything that it holds reads or writes."""
    inner = (state for block in op.blocks for held in block for state in _states(held))
    return {effect.state for effect in op.effects()} | set(inner)


def _is_used_outside(value: Value, inside: set[Op], body: Block) -> bool:
    for user in value.users:
        while isinstance(user, Block) and user is not body and isinstance(user.owner, Op):
            user = user.owner
        while isinstance(user, Op) and user.block is not body and user.block is not None:
            owner = user.block.owner
            if not isinstance(owner, Op):
                break
            user = owner
        if user not in inside:
            return True
    return False
