"""Exporting a plain module with inputs made up from their declared shapes."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram

from gristmill.errors import ConversionError, GristmillError, InputError, UnsupportedError
from gristmill.frontends.common import InputSpec
from gristmill.frontends.torch.graph import quiet
from gristmill.frontends.torch.sizes import cut_to, symbolic_shape
from gristmill.ir import types
from gristmill.ir.dims import Dim, Symbol
from gristmill.ir.types import DType

_TORCH_TYPES = {types.bool_: torch.bool, types.fp32: torch.float32, types.fp16: torch.float16}

ROOM = 64
"""By how much example sizes are raised for a model that does not run on small ones, as one of wide windows."""


def export_module(
    module: torch.nn.Module, inputs: Sequence[InputSpec] | None
) -> tuple[ExportedProgram, list[InputSpec]]:
    """Exports a module in evaluation mode.

    Args:
        module: Left as it is.
        inputs: One for each tensor argument, with shapes; symbols become dynamic sizes.

    Returns:
        The program, and the descriptions with the ranges of sizes that it turned out to take. A range that became
        smaller is warned of.

    Raises:
        InputError: Shapes are missing.
        ConversionError: ``torch.export`` failed.
    """
    if inputs is None or any(spec.shape is None for spec in inputs):
        raise InputError(
            "a module is exported with example inputs, whose shapes must be given",
            expected="a shape for each argument of forward",
            actual="no inputs" if inputs is None else ", ".join(str(spec) for spec in inputs),
            hint="describe the inputs, or pass the result of torch.export.export(module, example_inputs)",
        )
    sizes: dict[Symbol, Any] = {}
    dynamic: tuple[Any, ...] = tuple(_dynamic_sizes(spec, sizes) for spec in inputs)
    if any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(module.forward).parameters.values()):
        dynamic = (dynamic,)
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with quiet(), torch.fx.traceback.preserve_node_meta():  # places of TorchScript's nodes travel in it
            program = _exported(module, inputs, dynamic if sizes else None)
            return program, _narrowed(program, inputs)
    except GristmillError:
        raise
    except Exception as error:  # torch.export documents no set of errors
        raise ConversionError(
            f"torch.export failed: {error}",
            hint="export the model yourself to see where; torch.export.draft_export lists what stands in the way",
        ) from error
    finally:
        for part, training in modes.items():
            part.training = training


def _exported(module: torch.nn.Module, specs: Sequence[InputSpec], dynamic: Any) -> ExportedProgram:
    """Exports with the sizes as the caller named them, or else as PyTorch finds them to be related.

    A model may ask for equal sizes that the caller has declared apart, and then fails on examples whose sizes all
    differ: those of usual sizes show which are equal. Or it may ask for larger ones than the least that were declared.
    """
    try:
        return torch.export.export(module, next(_examples(specs)), dynamic_shapes=dynamic)
    except Exception as error:  # whatever it is, it may be about the sizes, and comes again below if it is not
        if dynamic is None:
            raise
        first = error
    automatic = torch.utils._pytree.tree_map(
        lambda size: torch.export.Dim.AUTO, dynamic, is_leaf=lambda item: not isinstance(item, tuple | dict)
    )
    for attempt, inputs in enumerate(_examples(specs)):
        with contextlib.suppress(Exception):  # the first error is about what the caller has said
            program = torch.export.export(module, inputs, dynamic_shapes=automatic)
            if attempt == 0 or _open_sizes(program) == len(torch.utils._pytree.tree_leaves(dynamic)):
                return program
    raise first


def _examples(specs: Sequence[InputSpec]) -> Iterator[tuple[torch.Tensor, ...]]:
    """Inputs of small sizes, of the usual ones, and of larger ones."""
    small = _example_sizes(specs)
    yield tuple(_example(spec, small) for spec in specs)
    yield tuple(_example(_usual(spec), small) for spec in specs)
    large = _example_sizes(specs, ROOM)
    yield tuple(_example(spec, large) for spec in specs)


def _narrowed(program: ExportedProgram, specs: Sequence[InputSpec]) -> list[InputSpec]:
    """The descriptions with ranges of sizes cut to those that the program takes."""
    symbols = symbolic_shape(program)
    found: dict[Symbol, Symbol] = {}
    for tensor, spec in zip(_input_tensors(program), specs, strict=False):
        for size, declared in zip(tensor.shape, spec.shape or (), strict=False):
            if isinstance(declared, Symbol) and not isinstance(size, int):
                found[declared] = cut_to(found.get(declared, declared), symbols(size))
    cut = {before: after for before, after in found.items() if before != after}
    if not cut:
        return list(specs)
    for before, after in cut.items():
        names = ", ".join(f"'{spec.name}'" for spec in specs if before in (spec.shape or ()))
        warnings.warn(
            f"the model takes {after} for {before} of {names}: these are the sizes that the result declares",
            stacklevel=2,
        )
    return [
        spec if spec.shape is None else dataclasses.replace(spec, shape=tuple(cut.get(d, d) for d in spec.shape))  # type: ignore[call-overload]  # ints are no keys
        for spec in specs
    ]


def _input_tensors(program: ExportedProgram) -> list[Any]:
    """What stands for the module's tensor arguments, with their sizes."""
    given = {*program.graph_signature.user_inputs}
    found = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in given]
    return [tensor for tensor in found if isinstance(tensor, torch.Tensor)]


def _open_sizes(program: ExportedProgram) -> int:
    """How many sizes of inputs are still open: PyTorch closes those that can only be one size."""
    return sum(not isinstance(size, int) for tensor in _input_tensors(program) for size in tensor.shape)


def _usual(spec: InputSpec) -> InputSpec:
    """The description of an input of the usual size."""
    return spec if spec.default is None else dataclasses.replace(spec, shape=spec.default)


def _example(spec: InputSpec, sizes: Mapping[Dim, int]) -> torch.Tensor:
    shape = [dim if isinstance(dim, int) else sizes[dim] for dim in spec.shape or ()]
    dtype = _torch_dtype(spec.dtype or types.fp32)
    if dtype.is_floating_point:
        return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    return torch.zeros(shape, dtype=dtype)  # valid wherever indices are expected


def _example_sizes(specs: Sequence[InputSpec], room: int = 1) -> dict[Dim, int]:
    """A size for each symbol: different ones, or torch.export takes them for the same; 0 and 1 are special to it.

    ``room`` is by how much the first exceeds the least size, where it may.
    """
    sizes: dict[Dim, int] = {}
    for dim in (dim for spec in specs for dim in spec.shape or ()):
        if isinstance(dim, int) or dim in sizes:
            continue
        if not isinstance(dim, Symbol):
            raise UnsupportedError("an input's size is an expression", actual=dim, hint="use one symbol a dimension")
        least = max(dim.lower, 2)
        most = least + room + len(sizes)
        most = most if dim.upper is None else min(most, dim.upper)
        sizes[dim] = next((size for size in range(most, least - 1, -1) if size not in sizes.values()), most)
    return sizes


def _dynamic_sizes(spec: InputSpec, sizes: dict[Symbol, Any]) -> dict[int, Any]:
    dynamic = {}
    for axis, dim in enumerate(spec.shape or ()):
        if isinstance(dim, Symbol):
            sizes.setdefault(dim, torch.export.Dim(dim.name, min=dim.lower, max=dim.upper))
            dynamic[axis] = sizes[dim]
    return dynamic


def _torch_dtype(dtype: DType) -> torch.dtype:
    # 64 bits are what PyTorch's own indices and counters have; the program has 32 either way.
    return _TORCH_TYPES.get(dtype, torch.int64 if dtype.is_integer else torch.float32)
