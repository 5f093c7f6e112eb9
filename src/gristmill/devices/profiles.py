"""Numerics profiles: models of how a unit that is not here would compute. None is Apple's own statement.

What is known, where from, and how certain it is stands in ``docs/simulation.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from gristmill.errors import InputError
from gristmill.ir.types import DType, fp16, fp32


@dataclass(frozen=True)
class NumericsProfile:
    """How a unit computes with float16 tensors; what is declared as float32 is stored and added up in float32.

    Attributes:
        name: For reports.
        unit: ``neural_engine`` or ``gpu``.
        accumulation: What sums, and all other steps inside an op, are held in: float16 or float32.
        flushes_subnormals: Float16 numbers below 2⁻¹⁴ count as zero where an op computes, both as operands and as
            results. What only moves numbers keeps them.
        basis: Why one should think so.
    """

    name: str
    unit: str
    accumulation: DType
    flushes_subnormals: bool
    basis: str = "made up by the caller"

    def __post_init__(self) -> None:
        if self.accumulation not in (fp16, fp32):
            # bfloat16 above all: it is less than float16.
            raise InputError("sums are held in float16 or float32", expected="fp16, fp32", actual=self.accumulation)
        if self.unit not in ("neural_engine", "gpu"):
            raise InputError(
                "only units that are not here have a profile", expected="neural_engine, gpu", actual=self.unit
            )

    def __str__(self) -> str:
        return f"{self.name} (a model of Apple's {self.unit.replace('_', ' ')}, not its own numbers)"


_ALL = (
    NumericsProfile(
        "neural_engine_float32",
        "neural_engine",
        fp32,
        flushes_subnormals=False,
        basis="measurements by third parties on M1 to M5: float16 in and out, sums of float32's class",
    ),
    NumericsProfile(
        "neural_engine_float16",
        "neural_engine",
        fp16,
        flushes_subnormals=True,
        basis="the least that older reports allow: float16 for everything, very small numbers become 0",
    ),
    NumericsProfile(
        "gpu_float32",
        "gpu",
        fp32,
        flushes_subnormals=False,
        basis="third parties, and the name of the option below: float16 tensors, sums in float32",
    ),
    NumericsProfile(
        "gpu_float16",
        "gpu",
        fp16,
        flushes_subnormals=False,
        basis="what allowLowPrecisionAccumulationOnGPU, an option of Core ML's configuration, permits",
    ),
)

PROFILES = MappingProxyType({profile.name: profile for profile in _ALL})
"""Profiles by name. The first one of each unit is what it is taken to do unless the caller says otherwise."""


def profile_of(choice: NumericsProfile | str) -> NumericsProfile:
    """A profile, or the one that a name stands for.

    Raises:
        InputError: No profile has the name.
    """
    if isinstance(choice, NumericsProfile):
        return choice
    if choice not in PROFILES:
        raise InputError("there is no such numerics profile", expected=", ".join(PROFILES), actual=choice)
    return PROFILES[choice]


def profiles_of(unit: str) -> Sequence[NumericsProfile]:
    """The known profiles of a unit, the likeliest first."""
    return [profile for profile in PROFILES.values() if profile.unit == unit]
