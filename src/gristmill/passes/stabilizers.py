"""Which rewrites for float16 there are, in the order in which they are tried; see ``stabilizing``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from gristmill.errors import InputError
from gristmill.passes.infra import Pass
from gristmill.passes.stabilizing import Stabilizer
from gristmill.passes.stable_epsilon import RaiseEpsilon, RaiseEpsilonLittle
from gristmill.passes.stable_exponentials import StableExponentials
from gristmill.passes.stable_masks import ClampMasks
from gristmill.passes.stable_means import DivideAtOnce, MeanOfSums
from gristmill.passes.stable_norms import ScaledRMSNorm, TwoPassVariance
from gristmill.passes.stable_products import ScaleFirst
from gristmill.passes.stable_sums import SplitSums

STABILIZERS: Final[Mapping[str, type[Stabilizer]]] = {
    cls.name: cls
    for cls in (
        ClampMasks,
        ScaledRMSNorm,
        TwoPassVariance,
        StableExponentials,
        ScaleFirst,
        MeanOfSums,
        DivideAtOnce,
        SplitSums,  # after those that make means of sums
        RaiseEpsilon,  # before the other one: the larger guard survives where small numbers are flushed to zero
        RaiseEpsilonLittle,
    )
}


def rewriting(rewrites: Mapping[str, Iterable[str] | None]) -> list[Pass]:
    """The passes that rewrites name, in their own order.

    Args:
        rewrites: Names of ops by name of the pass; ``None`` for everywhere.

    Raises:
        InputError: There is no such rewrite.
    """
    for name in rewrites:
        if name not in STABILIZERS:
            raise InputError(f"there is no rewrite '{name}'", expected=", ".join(STABILIZERS), actual=name)
    return [cls(rewrites[name]) for name, cls in STABILIZERS.items() if name in rewrites]
