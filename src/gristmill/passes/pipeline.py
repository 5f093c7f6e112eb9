"""The passes of a conversion: which there are, in which order they run, and how users choose among them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from gristmill.errors import InputError
from gristmill.passes.cast_cancelling import CastCancelling
from gristmill.passes.common_subexpressions import CommonSubexpressions
from gristmill.passes.constant_folding import ConstantFolding
from gristmill.passes.dead_code import DeadCode
from gristmill.passes.fuse_activations import FuseGelu, FuseHardSigmoid, FuseSilu, FuseSoftmax
from gristmill.passes.fuse_attention import FuseAttention
from gristmill.passes.fuse_conv import FuseConvArithmetic, FuseConvBatchNorm
from gristmill.passes.fuse_linear import FuseLinear, FuseLinearBias, FuseLinearReshapes, FuseLinearScale
from gristmill.passes.fuse_normalization import FuseLayerNorm, FuseNormAffine, FuseRsqrt
from gristmill.passes.fuse_padding import FusePadding
from gristmill.passes.infra import Pass
from gristmill.passes.joined_parts import JoinParts
from gristmill.passes.no_ops import NoOps
from gristmill.passes.reshapes import MergeReshapes
from gristmill.passes.slices import MoveSlices
from gristmill.passes.transposes import MergeTransposes, MoveTransposes, TransposesAsReshapes

_CLEANUP: Final[tuple[type[Pass], ...]] = (
    CastCancelling,  # first: casts that vanish make equal computations and no-ops of what used them
    ConstantFolding,  # makes equal constants of equal computations, and leaves operands unused
    NoOps,  # after folding, which finds out that a factor is 1
    CommonSubexpressions,  # after no-ops, which hide that operands are the same
    DeadCode,  # last: the others leave ops without uses
)

_FORMULAS: Final[tuple[type[Pass], ...]] = (
    FuseLayerNorm,
    FuseNormAffine,  # after the layer norms to which it adds
    FuseRsqrt,  # what is no layer norm may still be the root of one
    FuseSoftmax,
    FuseGelu,  # before silu: x·σ(1.702·x) is no silu, but both begin at a product with a sigmoid
    FuseSilu,
    FuseHardSigmoid,
)

_LAYOUT: Final[tuple[type[Pass], ...]] = (
    MoveSlices,  # first: what is behind a slice can then merge with what was before it
    MergeReshapes,
    MergeTransposes,  # before the moves, which count what cannot be merged
    MoveTransposes,
    MergeTransposes,  # what moved meets others, or a matrix product
    TransposesAsReshapes,  # after the moves, which only know transpositions
    NoOps,  # reshapes and transpositions that came out as none
    MergeReshapes,  # those that only a transposition kept apart
    CommonSubexpressions,  # transpositions that now start from the same value
)

_LAYERS: Final[tuple[type[Pass], ...]] = (
    FuseAttention,  # before products become linear ops, and after the transpositions of keys became flags
    MergeTransposes,  # of keys that attention wants the other way round
    FuseLinear,
    FuseLinearBias,  # after linear
    FuseLinearScale,  # after attention, which scales queries, and after the bias that is scaled too
    JoinParts,  # after attention and scales, which look for the layout of each part alone
    FuseLinearReshapes,  # last of these: before them a bias may stand between the layer and its reshape
    FuseConvBatchNorm,
    FuseConvArithmetic,  # after batch norm; both compute in float64 until somebody reads the weight
    FusePadding,
)

_DEFAULT: Final[tuple[type[Pass], ...]] = (
    *_CLEANUP,  # formulas are found between constants, and only where each value is computed once
    *_FORMULAS,  # before the layout, whose moves need element-wise ops and would separate a formula's halves
    *_LAYOUT,
    *_LAYERS,
    *_CLEANUP,
)

_ALIASES: Final[Mapping[str, type[Pass]]] = {
    "common::cast_optimization": CastCancelling,
    "common::const_deduplication": CommonSubexpressions,
    "common::const_elimination": ConstantFolding,
    "common::dead_code_elimination": DeadCode,
    "common::fuse_conv_batchnorm": FuseConvBatchNorm,
    "common::fuse_conv_bias": FuseConvArithmetic,
    "common::fuse_conv_scale": FuseConvArithmetic,
    "common::fuse_gelu_exact": FuseGelu,
    "common::fuse_gelu_tanh_approximation": FuseGelu,
    "common::fuse_layernorm_or_instancenorm": FuseLayerNorm,
    "common::fuse_linear_bias": FuseLinearBias,
    "common::fuse_matmul_weight_bias": FuseLinear,
    "common::fuse_pad_conv": FusePadding,
    "common::fuse_squeeze_expand_dims": MergeReshapes,
    "common::fuse_transpose_matmul": MergeTransposes,
    "common::merge_consecutive_reshapes": MergeReshapes,
    "common::merge_consecutive_transposes": MergeTransposes,
    "common::noop_elimination": NoOps,
    "common::reduce_transposes": MoveTransposes,
    "common::remove_redundant_ops": CommonSubexpressions,
    "mil_backend::fuse_activation_silu": FuseSilu,
}
"""Names by which users of coremltools know the same thing."""

_BY_NAME: Final[dict[str, type[Pass]]] = {cls.name: cls for cls in _DEFAULT}


def register_pass(cls: type[Pass]) -> type[Pass]:
    """Makes a pass known to pipelines by its ``name``; also a class decorator.

    Raises:
        InputError: Another pass has this name.
    """
    if _BY_NAME.setdefault(cls.name, cls) is not cls or cls.name in _ALIASES:
        raise InputError(f"there is a pass called '{cls.name}' already", expected="another name")
    return cls


def _resolved(name: str) -> str:
    """A pass's own name for its own name or an alias."""
    if name in _BY_NAME:
        return name
    if name in _ALIASES:
        return _ALIASES[name].name
    near = difflib.get_close_matches(name, [*_BY_NAME, *_ALIASES], n=3)
    raise InputError(
        "there is no such pass",
        expected=", ".join(near) if near else f"one of {', '.join(_BY_NAME)}",
        actual=repr(name),
        hint="gristmill.passes.pipeline.register_pass makes one known",
    )


class _Fresh:
    """A class attribute that is a new pipeline each time: callers change what they get."""

    def __init__(self, name: str, passes: Sequence[type[Pass]]) -> None:
        self.name, self._passes = name, passes

    def __get__(self, instance: object, owner: type[PassPipeline]) -> PassPipeline:
        return owner([cls.name for cls in self._passes], self.name)


class PassPipeline:
    """The names of the passes that a conversion runs before it types the program, in order, with their options.

    ``DEFAULT``, ``EMPTY`` and ``CLEANUP`` are where to start from; each access gives a new one. Compressed weights stay
    compressed in all of them, so coremltools' names for pipelines that see to that are the default one. Names of
    coremltools for the same pass are understood wherever a name is.

        pipeline = PassPipeline.DEFAULT
        pipeline.remove_passes({"common::fuse_conv_batchnorm"})
        pipeline.set_options("constant_folding", {"size_limit": 1000})

    Args:
        pass_names: What runs; the default passes when left out.
        pipeline_name: For messages.

    Raises:
        InputError: There is no such pass.
    """

    DEFAULT = _Fresh("default", _DEFAULT)
    EMPTY = _Fresh("empty", ())
    CLEANUP = _Fresh("cleanup", _CLEANUP)
    DEFAULT_PALETTIZATION = _Fresh("default_palettization", _DEFAULT)
    DEFAULT_PRUNING = _Fresh("default_sparsification", _DEFAULT)

    @classmethod
    def list_available_pipelines(cls) -> list[str]:
        """Names that ``get_pipeline`` takes."""
        return [found.name for found in vars(cls).values() if isinstance(found, _Fresh)]

    @classmethod
    def get_pipeline(cls, pipeline_name: str) -> PassPipeline:
        """A new pipeline by its name.

        Raises:
            InputError: There is no such pipeline.
        """
        for found in vars(cls).values():
            if isinstance(found, _Fresh) and found.name == pipeline_name:
                return found.__get__(None, cls)
        raise InputError(
            "there is no such pipeline", expected=", ".join(cls.list_available_pipelines()), actual=pipeline_name
        )

    def __init__(self, pass_names: Sequence[str] | None = None, pipeline_name: str = "default") -> None:
        self.pipeline_name = pipeline_name
        self._options: dict[str, dict[str, Any]] = {}
        self.passes = [cls.name for cls in _DEFAULT] if pass_names is None else list(pass_names)

    @property
    def passes(self) -> list[str]:
        """Names of the passes in order. A copy: assign to change it."""
        return list(self._passes)

    @passes.setter
    def passes(self, names: Sequence[str]) -> None:
        self._passes = [_resolved(name) for name in names]

    def append_pass(self, pass_name: str) -> None:
        """Adds a pass at the end."""
        self._passes.append(_resolved(pass_name))

    def insert_pass(self, index: int, pass_name: str) -> None:
        """Adds a pass before the one at ``index``."""
        self._passes.insert(index, _resolved(pass_name))

    def remove_pass(self, index: int) -> None:
        """Removes the pass at ``index``."""
        del self._passes[index]

    def remove_passes(self, passes_names: Collection[str]) -> None:
        """Removes passes wherever they stand."""
        gone = {_resolved(name) for name in passes_names}
        self._passes = [name for name in self._passes if name not in gone]

    def get_options(self, pass_name: str) -> dict[str, Any] | None:
        """Options that were set for a pass."""
        found = self._options.get(_resolved(pass_name))
        return None if found is None else dict(found)

    def get_all_options(self) -> dict[str, dict[str, Any]]:
        """Options that were set, by the names of their passes."""
        return {name: dict(options) for name, options in self._options.items()}

    def set_options(self, pass_name: str, options: Mapping[str, Any], override: bool = True) -> None:
        """Sets the arguments with which a pass is made.

        Args:
            pass_name: Which pass; everywhere in the pipeline.
            options: Arguments of its class by name, or coremltools' names for them.
            override: Whether options that were set before may be replaced.

        Raises:
            InputError: The pass has no such option, or has options already.
        """
        name = _resolved(pass_name)
        if name in self._options and not override:
            raise InputError(f"pass '{name}' has options already", hint="override=True replaces them")
        translated = dict(_translated(name, options))
        _make(name, translated)  # raises where the pass does not take them
        self._options[name] = translated

    def set_options_by_another_pipeline(self, other_pipeline: PassPipeline) -> None:
        """Takes over the options of another pipeline for the passes that this one has."""
        for name, options in other_pipeline.get_all_options().items():
            if name in self._passes:
                self.set_options(name, options)

    def validate(self) -> None:
        """Checks that options were set for passes of the pipeline only.

        Raises:
            InputError: A pass with options is not in it.
        """
        for name in self._options:
            if name not in self._passes:
                raise InputError(
                    f"pass '{name}' has options but is not in the pipeline",
                    expected=", ".join(self._passes),
                    actual=name,
                )

    def build(self) -> list[Pass]:
        """The passes themselves, newly made."""
        return [_make(name, self._options.get(name, {})) for name in self._passes]

    def __str__(self) -> str:
        return f"{self.pipeline_name}: {', '.join(self._passes) or 'no pass'}"


def _translated(name: str, options: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for option, value in options.items():
        if name == ConstantFolding.name and option == "skip_const_by_size":  # coremltools' name, given as text
            yield "size_limit", int(float(value))
        else:
            yield option, value


def _make(name: str, options: Mapping[str, Any]) -> Pass:
    make: Callable[..., Pass] = _BY_NAME[name]
    try:
        return make(**options)
    except TypeError as error:
        raise InputError(f"pass '{name}' does not take these options", actual=dict(options), hint=str(error)) from error


def cleanup() -> list[Pass]:
    """What may run at any time and leaves the values as they are."""
    return PassPipeline.CLEANUP.build()


def default_passes() -> list[Pass]:
    """What a conversion runs on the frontend's program before its types are chosen."""
    return PassPipeline.DEFAULT.build()
