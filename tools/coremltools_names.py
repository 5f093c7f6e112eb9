"""Which public names of coremltools exist here, and how well they fit: the page ``docs/coremltools-names.md``.

Written down by hand is only which modules count, and why most names of some are missing. For each name the module of
the same path is imported here, and parameters and members are compared.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import re
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MODULES = {
    "coremltools": "",
    "coremltools.transform": "",
    "coremltools.utils": "",
    "coremltools.converters": "",
    "coremltools.converters.mil": "",
    "coremltools.converters.mil.mil": "",
    "coremltools.converters.mil.mil.types": "",
    "coremltools.converters.mil.frontend.torch": "",
    "coremltools.converters.mil.frontend.torch.torch_op_registry": "",
    "coremltools.converters.mil.frontend.torch.ops": "",
    "coremltools.models": "",
    "coremltools.models.model": "",
    "coremltools.models.utils": "",
    "coremltools.models.datatypes": "",
    "coremltools.models.compute_device": "",
    "coremltools.models.compute_plan": "",
    "coremltools.version": "The version here is Gristmill's own.",
    "coremltools.models.ml_program": "",
    "coremltools.models.ml_program.compression_utils": "There is no compression.",
    "coremltools.models.ml_program.experimental.async_wrapper": "",
    "coremltools.models.ml_program.experimental.remote_device": "Remote devices are not driven.",
    "coremltools.models.ml_program.experimental.compute_plan_utils": "",
    "coremltools.models.ml_program.experimental.model_structure_path": "",
    "coremltools.models.ml_program.experimental.torch.debugging_utils": "",
    "coremltools.models.ml_program.experimental.torch.perf_utils": "",
    "coremltools.models.ml_program.experimental.debugging_utils": "",
    "coremltools.models.ml_program.experimental.perf_utils": "",
    "coremltools.models.neural_network": "",
    "coremltools.models.neural_network.builder": "",
    "coremltools.models.neural_network.flexible_shape_utils": "",
    "coremltools.models.neural_network.quantization_utils": "",
    "coremltools.models.neural_network.update_optimizer_utils": "",
    "coremltools.models.neural_network.optimization_utils": "",
    "coremltools.models.neural_network.printer": "",
    "coremltools.models.neural_network.spec_inspection_utils": "",
    "coremltools.models.neural_network.utils": "",
    "coremltools.models.nearest_neighbors": "",
    "coremltools.models.nearest_neighbors.builder": "",
    "coremltools.models.pipeline": "",
    "coremltools.models.tree_ensemble": "",
    "coremltools.models.array_feature_extractor": "",
    "coremltools.models.feature_vectorizer": "",
    "coremltools.optimize": "There is no compression.",
    "coremltools.optimize.coreml": "There is no compression.",
    "coremltools.optimize.coreml.experimental": "There is no compression.",
    "coremltools.optimize.torch": "There is no compression.",
    "coremltools.optimize.torch.layerwise_compression": "There is no compression.",
    "coremltools.optimize.torch.base_model_optimizer": "There is no compression.",
    "coremltools.optimize.torch.optimization_config": "There is no compression.",
    "coremltools.optimize.torch.quantization": "There is no compression.",
    "coremltools.optimize.torch.palettization": "There is no compression.",
    "coremltools.optimize.torch.pruning": "There is no compression.",
    "coremltools.proto": "All modules of messages, such as `proto.Model_pb2`, with all that is in them.",
    "coremltools.converters.libsvm": "",
    "coremltools.converters.sklearn": "",
    "coremltools.converters.xgboost": "",
}
"""Public modules, each with the reason where most of its names are missing."""

CHOSEN = {
    "coremltools.converters.mil.frontend.torch.ops": ["_get_inputs"],
    "coremltools.transform": ["FP16ComputePrecision"],
}
"""Modules that are no interface as a whole, with the names that users import from them."""

MEMBERS = {
    "Operation": ["blocks", "enclosing_block", "inputs", "name", "op_type", "outputs"],
    "Program": ["add_function", "functions"],
    "Function": ["inputs", "outputs"],
    "Block": ["inputs", "outputs"],
    "Symbol": ["name"],
    "FP16ComputePrecision": ["op_selector"],
    "TorchScriptModuleAnnotator": ["module_call_stack", "node_infos"],
    "Var": ["child_ops", "dtype", "name", "op", "rank", "shape", "sym_type", "val"],
}
"""Of these classes what selectors, lowerings and builders' code use counts: the rest is the inside of a converter."""


@dataclass
class Finding:
    """What became of one name.

    Attributes:
        name: As its module has it.
        status: ``same``, ``partial`` or ``absent``.
        missing: What a partial one lacks.
    """

    name: str
    status: str
    missing: list[str] = field(default_factory=list)


def public_names(path: str, module: types.ModuleType) -> list[str]:
    """Names that a user may import: those of the package's own classes, functions, constants and submodules."""
    chosen = CHOSEN.get(path)
    if chosen is not None:
        return chosen
    return sorted(name for name in vars(module) if not name.startswith("_") and _counts(module, name))


def _counts(module: types.ModuleType, name: str) -> bool:
    value = vars(module)[name]
    if inspect.ismodule(value):
        return value.__name__ == f"{module.__name__}.{name}" and value.__name__ in MODULES
    home = getattr(value, "__module__", None)
    if inspect.isclass(value) or inspect.isfunction(value):
        return str(home).startswith("coremltools")
    if callable(value) or isinstance(value, bool | int | float | str):
        return isinstance(value, bool | int | float | str) and not name.startswith("TEST")
    return str(type(value).__module__).startswith("coremltools")


def compare(theirs: Any, ours: Any) -> list[str]:
    """What ours lacks of theirs: parameters of a function, members of a class, values of an enumeration."""
    if isinstance(theirs, type) and issubclass(theirs, enum.Enum):
        return [f"`{member.name}`" for member in theirs if not hasattr(ours, member.name)]
    if inspect.isclass(theirs):
        made = [] if theirs.__name__ in MEMBERS else _parameters(theirs.__init__, getattr(ours, "__init__", ours), "")
        return [*made, *_members(theirs, ours)]
    if inspect.isfunction(theirs):
        return _parameters(theirs, ours, "")
    return []


def _members(theirs: type, ours: Any) -> list[str]:
    names = MEMBERS.get(theirs.__name__) or [
        name for name in dir(theirs) if not name.startswith("_") and _own(theirs, name)
    ]
    missing = []
    example = _example(theirs.__name__)  # attributes of instances show in instances only
    for name in names:
        if not hasattr(ours, name) and not hasattr(example, name):
            missing.append(f"`{name}`")
        elif inspect.isfunction(member := inspect.getattr_static(theirs, name, None)) and theirs.__name__ != "Builder":
            missing += _parameters(member, getattr(ours, name), name)
    return missing


def _example(class_name: str) -> Any:
    """An instance of ours, of classes whose attributes the class does not show."""
    from gristmill.converters.mil import Builder
    from gristmill.models.neural_network import flexible_shape_utils as shapes
    from gristmill.models.neural_network import update_optimizer_utils as optimizers
    from gristmill.models.transform import FP16ComputePrecision
    from gristmill.models.utils import MultiFunctionDescriptor
    from gristmill.passes.pipeline import PassPipeline

    program = Builder.program(input_specs=[Builder.TensorSpec((1,))])(lambda x: Builder.relu(x=x))
    op = program.main.body.last
    assert op is not None
    examples = {
        "Operation": op,
        "Var": op.outputs[0],
        "Program": program,
        "Function": program.main,
        "Block": program.main.body,
        "PassPipeline": PassPipeline.DEFAULT,
        "MultiFunctionDescriptor": MultiFunctionDescriptor(),
        "FP16ComputePrecision": FP16ComputePrecision(),
        "AdamParams": optimizers.AdamParams(),
        "SgdParams": optimizers.SgdParams(),
        "RangeParam": optimizers.RangeParam(0.5),
        "Batch": optimizers.Batch(1),
        "Shape": shapes.Shape(1),
        "Size": shapes.Size(1),
        "ShapeRange": shapes.ShapeRange(1, 2),
    }
    return examples.get(class_name)


def _own(cls: type, name: str) -> bool:
    """Whether a member comes from the package rather than from a base class elsewhere."""
    return any(name in vars(base) and base.__module__.startswith("coremltools") for base in cls.__mro__)


def _parameters(theirs: Any, ours: Any, prefix: str) -> list[str]:
    try:
        wanted = inspect.signature(theirs).parameters.values()
        have = inspect.signature(ours).parameters
    except (TypeError, ValueError):
        return []
    if any(p.kind is p.VAR_KEYWORD for p in have.values()):
        return []
    named = [
        p.name for p in wanted if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.name not in ("self", "cls")
    ]
    return [f"`{prefix}({name}=)`" for name in named if name not in have]


def examine(path: str) -> Iterator[Finding]:
    """Every public name of a module."""
    theirs, ours = _resolve(path), _resolve(path.replace("coremltools", "gristmill", 1))
    for name in public_names(path, theirs):
        value = getattr(ours, name, None) if ours is not None else None
        if value is None:
            yield Finding(name, "absent")
            continue
        missing = compare(getattr(theirs, name), value)
        yield Finding(name, "partial" if missing else "same", missing)


def _resolve(path: str) -> Any:
    """A module, or what stands in its place: an attribute of the package, or ``None``."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not path.startswith(error.name):
            raise
    root, *parts = path.split(".")
    found: Any = importlib.import_module(root)
    for part in parts:
        found = getattr(found, part, None)
    return found


def examine_all() -> dict[str, list[Finding]]:
    """All modules, in the order of the page."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in MODULES:  # a package shows its submodules only when they have been imported
            _resolve(path)
            _resolve(path.replace("coremltools", "gristmill", 1))
        return {path: list(examine(path)) for path in MODULES}


_HEAD = """\
# coremltools' names

Of the {total:,} public names of coremltools 9.0, {same:,} are the same here, {partial:,} exist in part and {absent:,}
are absent. The path of a module is coremltools' with `gristmill` in front.

- **same**: the name can be imported, takes all parameters, and has all public members or values.
- **partial**: it is there; what it lacks follows.
- **absent**: it is not there.

Of `Builder` the ops count, each with its own operands, which [ops.md](ops.md) lists; of `Operation`, `Var`, `Block`,
`Function` and `Program` what op selectors, lowerings and users of the builder read. Written by
`python -m tools.generate`; a test holds it to the truth.
"""


def page(findings: dict[str, list[Finding]]) -> str:
    """The page, in Markdown."""
    everything = [finding for found in findings.values() for finding in found]
    counts = {status: sum(f.status == status for f in everything) for status in ("same", "partial", "absent")}
    lines = [
        _HEAD.format(total=len(everything), **counts),
        "| module | same | partial | absent |",
        "|---|--:|--:|--:|",
    ]
    for path, found in findings.items():
        numbers = [sum(f.status == status for f in found) for status in ("same", "partial", "absent")]
        lines.append(f"| `{path}` | {' | '.join(map(str, numbers))} |")
    for path, found in findings.items():
        lines += ["", f"## {path}", ""]
        if MODULES[path]:
            lines += [MODULES[path], ""]
        for status in ("same", "partial", "absent"):
            chosen = [f for f in found if f.status == status]
            if chosen and status == "partial":
                lines += ["**partial**", "", *(f"- `{f.name}` lacks {', '.join(f.missing)}" for f in chosen), ""]
            elif chosen:
                lines += [f"**{status}**: {', '.join(f'`{f.name}`' for f in chosen)}", ""]
    return re.sub("\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"
