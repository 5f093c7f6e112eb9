"""What of a function runs where, why, and what that is estimated to cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from gristmill.devices.base import Refusal
from gristmill.ir.op import Op
from gristmill.ir.program import Function, Value

if TYPE_CHECKING:
    from gristmill.runtime.targets import Target

CPU: Final = "cpu"
GPU: Final = "gpu"
NEURAL_ENGINE: Final = "neural_engine"
UNITS: Final = (CPU, GPU, NEURAL_ENGINE)
"""Every unit that a target may have. The first is home: it holds inputs and outputs."""

UNIT_NAMES: Final = {CPU: "CPU", GPU: "GPU", NEURAL_ENGINE: "Neural Engine"}
"""As people write them."""

DISCLAIMER: Final = (
    "Placement is a model made from public facts about Apple's chips. Core ML decides by itself, on the device, "
    "by rules that Apple does not publish and changes from release to release."
)


Confidence: TypeAlias = Literal["high", "medium", "low"]


@dataclass(frozen=True)
class Source:
    """A public document.

    Attributes:
        title: What it is.
        url: Where it is.
    """

    title: str
    url: str


@dataclass(frozen=True)
class SourcedRefusal(Refusal):
    """A refusal that a rule gives.

    Attributes:
        rule: Name of the rule.
        confidence: How far it can be trusted.
        sources: Where it is known from.
    """

    rule: str = ""
    confidence: Confidence = "low"
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Placement:
    """Where one op runs.

    Attributes:
        op: The op. One in a nested block runs on the unit of the op that holds the block.
        unit: The unit that runs it.
        supported: All units that could, in the order of ``UNITS``.
        refusals: Why the others could not, by unit.
        cost: Estimated seconds on its unit, without transfers and launches; 0 in a nested block, whose time the op that
            holds it has.
        costs: Estimated seconds on every unit that could run it.
        flops: Floating-point operations.
        bytes: Of operands, constants and results, each counted once.
        segment: Index of its segment.
    """

    op: Op
    unit: str
    supported: tuple[str, ...]
    refusals: Mapping[str, Refusal]
    cost: float
    costs: Mapping[str, float]
    flops: float
    bytes: float
    segment: int

    @property
    def name(self) -> str:
        """The op's own name, or that of its first result."""
        return self.op.name or next((value.name for value in self.op.results), "")


@dataclass(frozen=True)
class Segment:
    """Ops that one unit runs in one go.

    Attributes:
        index: Its place in the order of execution.
        unit: What runs it.
        ops: In order. Constants and ops in nested blocks are not listed.
        inputs: Values that are made outside and used inside, each once, constants not counted.
        outputs: Values that are made inside and used outside.
        cost: Estimated seconds, its launch included, transfers not.
    """

    index: int
    unit: str
    ops: tuple[Op, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    cost: float


@dataclass(frozen=True)
class Transfer:
    """A value on its way from the unit that made it to one that uses it; paid once, however many segments do.

    Attributes:
        value: The value.
        source: The unit that made it; the CPU for inputs of the function.
        destination: The unit that uses it; the CPU for outputs of the function.
        bytes: Its size.
        cost: Estimated seconds.
    """

    value: Value
    source: str
    destination: str
    bytes: float
    cost: float


@dataclass(frozen=True)
class Plan:
    """A whole function, placed.

    Attributes:
        function: The function; not to be changed while the plan is used.
        target: The chip that the plan is for.
        units: Units that were allowed.
        placements: One for each op that runs, in program order, nested blocks after the op that holds them. Constants,
            and what decompresses them, are on no unit.
        segments: In the order of execution: each needs only what earlier ones made.
        transfers: Between units.
        cost: Estimated seconds in all: ops, transfers, launches.
        bound: No placement under this model costs less; equal to ``cost`` where the plan is proved best. ``None`` where
            no bound was computed.
    """

    function: Function
    target: Target
    units: tuple[str, ...]
    placements: Sequence[Placement]
    segments: Sequence[Segment]
    transfers: Sequence[Transfer]
    cost: float
    bound: float | None = None
    notes: Sequence[str] = field(default=(DISCLAIMER,))

    @cached_property
    def _by_op(self) -> dict[Op, Placement]:
        return {placement.op: placement for placement in self.placements}

    def placement(self, op: Op) -> Placement | None:
        """Where an op of the function runs; ``None`` for constants."""
        return self._by_op.get(op)

    def count(self, unit: str) -> int:
        """How many ops a unit runs."""
        return sum(placement.unit == unit for placement in self.placements)

    def share(self, unit: str, *, of: str = "ops") -> float:
        """The share of a unit, from 0 to 1.

        Args:
            unit: Whose.
            of: ``ops`` counts ops; ``cost`` weighs each with its estimated time on the unit that runs it.
        """
        weights = [1.0 if of == "ops" else placement.cost for placement in self.placements]
        mine = sum(w for w, placement in zip(weights, self.placements, strict=True) if placement.unit == unit)
        total = sum(weights)
        return mine / total if total else 0.0

    @property
    def op_cost(self) -> float:
        """Estimated seconds of the ops alone."""
        return sum(placement.cost for placement in self.placements)

    @property
    def transfer_cost(self) -> float:
        """Estimated seconds of the transfers."""
        return sum(transfer.cost for transfer in self.transfers)

    def weight(self, op: Op) -> float:
        """An op's share of the estimated time of all ops, from 0 to 1."""
        placement, total = self.placement(op), self.op_cost
        return placement.cost / total if placement is not None and total else 0.0

    @property
    def launch_cost(self) -> float:
        """Estimated seconds of beginning the segments."""
        return sum(self.target.units[segment.unit].launch for segment in self.segments)

    def refused(self, unit: str) -> list[tuple[str, Refusal, int]]:
        """Why a unit cannot run ops: type of op, refusal, number of ops; the most frequent first."""
        found = Counter(
            (placement.op.op_name, placement.refusals[unit])
            for placement in self.placements
            if unit in placement.refusals
        )
        return [(name, refusal, count) for (name, refusal), count in found.most_common()]

    # -- for machines and people -------------------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        """A JSON-like row for each op, in program order; times in seconds."""
        return [
            {
                "name": placement.name,
                "type": placement.op.op_name,
                "location": None if placement.op.location is None else str(placement.op.location),
                "results": [f"{value.name}: {value.type}" for value in placement.op.results],
                "unit": placement.unit,
                "supported": list(placement.supported),
                "refusals": {unit: _refusal(refusal) for unit, refusal in placement.refusals.items()},
                "cost": placement.cost,
                "costs": dict(placement.costs),
                "share": self.weight(placement.op),
                "flops": placement.flops,
                "bytes": placement.bytes,
                "segment": placement.segment,
            }
            for placement in self.placements
        ]

    def document(self) -> dict[str, Any]:
        """The whole plan as a JSON-like document; times in seconds."""
        return {
            "notes": list(self.notes),
            "function": self.function.name,
            "target": self.target.name,
            "target_data": self.target.version,
            "units": list(self.units),
            "cost": self.cost,
            "bound": self.bound,
            "op_cost": self.op_cost,
            "transfer_cost": self.transfer_cost,
            "launch_cost": self.launch_cost,
            "shares": {
                unit: {
                    "count": self.count(unit),
                    "ops": self.share(unit),
                    "cost": self.share(unit, of="cost"),
                }
                for unit in self.units
            },
            "ops": self.rows(),
            "segments": [
                {
                    "unit": segment.unit,
                    "ops": [op.name or op.op_name for op in segment.ops],
                    "inputs": [value.name for value in segment.inputs],
                    "outputs": [value.name for value in segment.outputs],
                    "cost": segment.cost,
                }
                for segment in self.segments
            ],
            "transfers": [
                {
                    "value": transfer.value.name,
                    "type": str(transfer.value.type),
                    "source": transfer.source,
                    "destination": transfer.destination,
                    "bytes": transfer.bytes,
                    "cost": transfer.cost,
                }
                for transfer in self.transfers
            ],
        }

    def __str__(self) -> str:
        lines = [f"{self.function.name} on {self.target.name}: about {self.cost * 1e3:.3g} ms"]
        for unit in self.units:
            lines.append(
                f"  {UNIT_NAMES[unit]}: {self.count(unit)} of {len(self.placements)} ops, "
                f"{self.share(unit, of='cost'):.1%} of their time"
            )
            lines += [f"    not {count} {name}: {refusal.reason}" for name, refusal, count in self.refused(unit)]
        lines.append(f"  {len(self.segments)} segments, {len(self.transfers)} transfers")
        return "\n".join([*lines, *self.notes])


def _refusal(refusal: Refusal) -> dict[str, Any]:
    document: dict[str, Any] = {"reason": refusal.reason, "fix": refusal.fix}
    if isinstance(refusal, SourcedRefusal):
        document |= {"rule": refusal.rule, "confidence": refusal.confidence}
        document["sources"] = [source.url for source in refusal.sources]
    return document
