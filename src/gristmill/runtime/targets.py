"""Targets: chips, the units that they have, and which ops each of these can run.

What is known stands in ``targets.toml``, each rule with its public source and how far it can be trusted. Here it is
read and applied. The rules are a model: what Core ML really does, it decides on the device.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Final, TypeAlias

from gristmill.errors import FormatError, InputError
from gristmill.ir import traits
from gristmill.ir.dims import DimExpr
from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.ir.signature import Const
from gristmill.ir.traits import Decompresses, Trait
from gristmill.ir.types import TensorType
from gristmill.runtime.plan import CPU, GPU, NEURAL_ENGINE, UNITS, Confidence, Source, SourcedRefusal
from gristmill.runtime.work import depth, follows_from_sizes, window

HOST: Final = "host"
"""The name of the computer that this runs on."""

_FIXED_SHAPES: Final = "fixed-shapes"
"""The rule that enumerated shapes keep."""


@dataclass(frozen=True)
class Rule:
    """One reason why a unit does not run an op.

    Attributes:
        name: Of the rule.
        unit: Whose.
        ops: Types of op that it concerns; all if both these and ``traits`` are empty.
        traits: Traits that it concerns.
        exempt: Traits that it does not concern.
        since: First generation of the Neural Engine that it holds for.
        before: First generation that it no longer holds for.
        condition: Says of an op what it finds wrong; ``None`` if nothing.
        reason: The sentence for people; ``{what}`` stands for what was found.
        fix: What to change.
        sources: Where it is known from.
        confidence: How far it can be trusted.
    """

    name: str
    unit: str
    ops: frozenset[str]
    traits: tuple[type[Trait], ...]
    exempt: tuple[type[Trait], ...]
    since: int
    before: int | None
    condition: Callable[[Op], str | None]
    reason: str
    fix: str
    sources: tuple[Source, ...]
    confidence: Confidence

    def concerns(self, op: Op) -> bool:
        """Whether the op is one that the rule is about."""
        if any(op.has(trait) for trait in self.exempt):
            return False
        if not self.ops and not self.traits:
            return True
        return op.op_name in self.ops or any(op.has(trait) for trait in self.traits)

    def refusal(self, op: Op) -> SourcedRefusal | None:
        """Why the unit does not run the op, as far as this rule goes."""
        found = self.condition(op) if self.concerns(op) else None
        if found is None:
            return None
        return SourcedRefusal(self.reason.replace("{what}", found), self.fix, self.name, self.confidence, self.sources)


@dataclass(frozen=True)
class Speed:
    """What a unit's time is estimated from.

    Attributes:
        flops: Operations per second of contractions in float16.
        flops32: The same in wider types.
        bandwidth: Bytes per second of everything else.
        launch: Seconds to begin a segment.
        transfer: Seconds to bring a value there, its bytes not counted.
        link: Bytes per second of such a transfer.
    """

    flops: float
    flops32: float
    bandwidth: float
    launch: float
    transfer: float
    link: float


@dataclass(frozen=True)
class Target:
    """A chip.

    Attributes:
        name: Such as ``A17``.
        units: The units that it has, with their speeds.
        rules: Why units refuse ops.
        neural_cores: How many its Neural Engine has.
        version: Of the data that this is from.
    """

    name: str
    units: Mapping[str, Speed]
    rules: tuple[Rule, ...] = ()
    neural_cores: int = 0
    version: int = 0

    def refusal(self, op: Op, unit: str) -> SourcedRefusal | None:
        """Why a unit does not run an op or something that the op holds; ``None`` if it does."""
        for rule in self.rules:
            if rule.unit == unit and (found := rule.refusal(op)) is not None:
                return found
        for block in op.blocks:
            for inner in block:
                if (found := self.refusal(inner, unit)) is not None:
                    return replace(found, reason=f"It holds {inner.title}. {found.reason}")
        return None

    def with_enumerated_shapes(self) -> Target:
        """The target for a model whose sizes are not fixed, but a few known ones, each of which is compiled."""
        return replace(self, rules=tuple(rule for rule in self.rules if rule.name != _FIXED_SHAPES))


def target_named(name: str | Target | None) -> Target:
    """A target by its name, in any case: ``A12`` to ``A19``, ``M1`` to ``M5``, or ``host`` (also for ``None``).

    Names of variants count as those of their family: ``A17 Pro``, ``M3 Max``.

    Raises:
        InputError: There is no such target.
    """
    if isinstance(name, Target):
        return name
    wanted = (name or HOST).strip()
    if wanted.lower() == HOST:
        return host()
    for known in target_names():
        if wanted.split()[0].upper() == known:
            return _apple(known)
    raise InputError("there is no such target", expected=", ".join([HOST, *target_names()]), actual=name)


def target_names() -> tuple[str, ...]:
    """The chips of the data file."""
    return tuple(name for name in _data()["chips"] if name not in ("source", "columns"))


@cache
def host() -> Target:
    """This computer: its CPU, which runs whatever has a definition here."""
    return Target(HOST, {CPU: Speed(5e10, 5e10, 1e10, 2e-6, 0, 1e10)})


# --- the data file ---------------------------------------------------------------------------------------------------


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(resources.files("gristmill.runtime").joinpath("targets.toml").read_text("utf-8"))


@cache
def _apple(name: str) -> Target:
    data = _data()
    chip = dict(zip(data["chips"]["columns"], data["chips"][name], strict=True))
    generation = chip["generation"]
    rules = tuple(
        rule for rule in all_rules() if rule.since <= generation and (rule.before is None or generation < rule.before)
    )
    speeds = {unit: _speed(unit, chip, data["costs"][unit]) for unit in UNITS}
    return Target(name, speeds, rules, neural_cores=chip["neural_cores"], version=data["version"])


def _speed(unit: str, chip: Mapping[str, float], cost: Mapping[str, Any]) -> Speed:
    tops = chip["neural_tops"]
    peak = {CPU: chip["cpu_tflops"], GPU: chip["gpu_tflops"], NEURAL_ENGINE: tops / 2 if tops > 20 else tops}[unit]
    flops = peak * 1e12 * cost["compute"]
    memory = chip["memory"] * 1e9
    early = chip["generation"] < 16 and "launch_before_16" in cost
    return Speed(
        flops=flops,
        flops32=flops * cost.get("float32", 1.0),
        bandwidth=memory * cost["elementwise"],
        launch=cost["launch_before_16" if early else "launch"],
        transfer=cost["transfer"],
        link=memory,
    )


@cache
def all_rules() -> tuple[Rule, ...]:
    """The rules of all chips.

    Raises:
        FormatError: The data file is not as it should be.
    """
    data = _data()
    sources = {name: Source(**source) for name, source in data["sources"].items()}
    return tuple(_rule(dict(entry), sources) for entry in data["rules"])


def _rule(entry: dict[str, Any], sources: Mapping[str, Source]) -> Rule:
    name = entry["name"]
    conditions = [key for key in _CONDITIONS if key in entry]
    if len(conditions) != 1:
        raise FormatError(f"rule '{name}' has one condition", expected=", ".join(_CONDITIONS), actual=conditions)
    (key,) = conditions
    arguments = (entry[key], entry["allowed"]) if key == "parameter" else (entry[key],)
    return Rule(
        name=name,
        unit=entry["unit"],
        ops=frozenset(entry.get("ops", ())),
        traits=tuple(getattr(traits, trait) for trait in entry.get("traits", ())),
        exempt=tuple(getattr(traits, trait) for trait in entry.get("exempt", ())),
        since=entry.get("since", 0),
        before=entry.get("before"),
        condition=_CONDITIONS[key](*arguments),
        reason=entry["reason"],
        fix=entry["fix"],
        sources=tuple(sources[source] for source in entry["source"]),
        confidence=entry["confidence"],
    )


# --- conditions ------------------------------------------------------------------------------------------------------
# Each makes, from what the data file says, a function that says of an op what it finds wrong.

Condition: TypeAlias = Callable[[Op], str | None]


def _tensors(op: Op) -> Iterator[tuple[Value, TensorType]]:
    """What an op computes with and what it makes; not the parameters, which are known before the program runs."""
    for _, _, value in op.uses():
        decoded = value.producer is not None and value.producer.has(Decompresses)
        known = value.is_constant or decoded or follows_from_sizes(value)
        if isinstance(value.type, TensorType) and not known:
            yield value, value.type
    for value in op.results:
        if isinstance(value.type, TensorType):
            yield value, value.type


def _always(_: bool) -> Condition:
    return lambda op: ""


def _floats(allowed: Sequence[str]) -> Condition:
    names = frozenset(allowed)

    def check(op: Op) -> str | None:
        for value, tensor in _tensors(op):
            if tensor.dtype.is_float and tensor.dtype.name not in names:
                return f"'{value.name}' is {tensor.dtype}"
        for slot, _, value in op.uses():  # weights take part in the arithmetic; parameters such as epsilon do not
            known = isinstance(value.type, TensorType) and not isinstance(op.params[slot], Const)
            if known and value.dtype.is_float and value.dtype.name not in names:
                return f"the constant '{value.name}' is {value.dtype}"
        return None

    return check


def _others(allowed: Sequence[str]) -> Condition:
    names = frozenset(allowed)

    def check(op: Op) -> str | None:
        for value, tensor in _tensors(op):
            if not tensor.dtype.is_float and tensor.dtype.name not in names:
                return f"'{value.name}' is {tensor.dtype}"
        return None

    return check


def _rank_above(most: int) -> Condition:
    def check(op: Op) -> str | None:
        for value, tensor in _tensors(op):
            if tensor.rank > most:
                return f"'{value.name}' has {tensor.rank}"
        return None

    return check


def _size_above(most: int, first_axis: int = 0, least_rank: int = 0) -> Condition:
    def check(op: Op) -> str | None:
        for value, tensor in _tensors(op):
            for size in tensor.shape[first_axis:] if tensor.rank >= least_rank else ():
                if isinstance(size, int) and size > most:
                    return f"'{value.name}' has an axis of {size:,}"
        return None

    return check


def _spatial_above(most: int) -> Condition:
    return _size_above(most, first_axis=2, least_rank=4)


def _depth_above(most: int) -> Condition:
    def check(op: Op) -> str | None:
        found = depth(op)
        return f"here it is {found:,} of them" if found > most else None

    return check


def _window_above(most: Sequence[int]) -> Condition:
    height, width = most

    def check(op: Op) -> str | None:
        sizes = window(op)
        limits = [height] * (len(sizes) - 1) + [width]
        if any(isinstance(size, int) and size > limit for size, limit in zip(sizes, limits, strict=True)):
            return "this one is " + " × ".join(map(str, sizes))
        return None

    return check


def _dynamic(_: bool) -> Condition:
    def check(op: Op) -> str | None:
        for value, tensor in _tensors(op):
            for size in tensor.shape:
                if isinstance(size, DimExpr):
                    return f"'{value.name}' has a size that is not fixed, {size}"
        return None

    return check


def _parameter(name: str, allowed: Sequence[Any]) -> Condition:
    def check(op: Op) -> str | None:
        found = getattr(op, name)
        values = found if isinstance(found, tuple) else (found,)
        return None if all(value in allowed for value in values) else f"'{name}' is {found}"

    return check


_CONDITIONS: Final[Mapping[str, Callable[..., Condition]]] = {
    "always": _always,
    "floats": _floats,
    "others": _others,
    "rank_above": _rank_above,
    "size_above": _size_above,
    "spatial_above": _spatial_above,
    "depth_above": _depth_above,
    "window_above": _window_above,
    "dynamic": _dynamic,
    "parameter": _parameter,
}
