"""``gristmill.precision.inspect``: what a model's types do to its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from gristmill.analysis import inspect as analysis
from gristmill.analysis.inspect import Culprit, Inspection, OpReport
from gristmill.errors import InputError, InputTypeError, UnsupportedError
from gristmill.ir.builtin import const
from gristmill.ir.constants import Array
from gristmill.ir.program import Function, Program
from gristmill.models.features import known_names
from gristmill.models.model import MLModel
from gristmill.models.networks import read_program
from gristmill.ops.classify import classify
from gristmill.package.network_messages import NETWORKS
from gristmill.precision.unit_types import NATIVE, Placed, type_by_unit

__all__ = ["Culprit", "Inspection", "OpReport", "inspect"]


def inspect(
    model: MLModel | Program | Function,
    inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    shadow: Literal["float32", "float64"] = "float32",
    *,
    heal: bool = False,
    unit: Literal["cpu", "gpu", "neural_engine"] = "neural_engine",
) -> Inspection:
    """Runs a model in its declared types beside a shadow in a wide type, and reports on every op.

    The declared run is strict: every result is rounded to its declared type, as on a device that fuses nothing. The
    shadow computes everything in the wide type. Constants that ``convert`` rounded are as before in the shadow of a
    model that comes from it; of a model from a file only the rounded ones are known.

    A neural network declares no types. Its tensors then have that of a unit: float16 but on the CPU.

    Args:
        model: A model that was converted or loaded, or a program.
        inputs: As for ``predict``, one sample or several.
        shadow: ``float32`` runs on native kernels; ``float64`` by definition, some ten times slower.
        heal: Goes on with the shadow's value wherever a number is lost, so that one run shows all places where that
            happens; what has gathered up to an op then leaves out what was mended.
        unit: The unit that runs a neural network's layers, all of them; of an ML Program it makes no difference.

    Returns:
        Rows by op, the errors of the outputs, where numbers are lost first, and which op is to blame most. ``print``
        shows it as a table.

    Raises:
        InputError: An input is missing, unknown, or does not fit.
        UnsupportedError: The model is neither an ML Program nor a neural network.
    """
    if isinstance(model, Program | Function):
        return analysis.inspect(model, inputs, shadow, heal=heal)
    function = _on_unit(model, unit) if getattr(model, "kind", None) in NETWORKS else function_of(model)
    samples = [inputs] if isinstance(inputs, Mapping) else list(inputs)
    return analysis.inspect(function, [arrays_for(model, function, row) for row in samples], shadow, heal=heal)


def _on_unit(model: MLModel, unit: str) -> Function:
    """A network's function with the types that a unit gives it, tables included: their rounding is an error too."""
    if unit not in NATIVE:
        raise InputError("there is no such unit", expected=", ".join(NATIVE), actual=unit)
    function = read_program(model.package, keep_tables=False).main
    ops = [op for op in function.body if not isinstance(op, const)]
    ends = [op for op in ops if isinstance(op, classify)]  # the labels are looked up on the CPU
    layers = Placed(unit, [op for op in ops if op not in ends])
    return type_by_unit(function, [layers, Placed("cpu", ends)] if ends else [layers])[0]


def function_of(model: MLModel) -> Function:
    """The function that a model runs.

    Raises:
        UnsupportedError: The model is no ML Program.
        InputTypeError: It is no model at all.
    """
    if not isinstance(model, MLModel):
        raise InputTypeError("this is no model", expected="an MLModel or a Program", actual=type(model).__name__)
    if model.kind != "mlProgram":
        raise UnsupportedError(
            "only ML Programs declare types, op by op",
            expected="mlProgram",
            actual=model.kind,
            hint="inspect or search the pipeline's models: MLModel.stages, or --stage"
            if model.stages
            else "inspect shows what a unit's type does to a neural network; CPU_ONLY computes it in float32",
        )
    return model._function(model.program)


def arrays_for(model: MLModel, function: Function, data: Mapping[str, Any]) -> dict[str, Array]:
    """What the program receives for what an application gives.

    Raises:
        InputError: An input is missing, unknown, or does not fit.
    """
    if not isinstance(data, Mapping):
        raise InputTypeError("inputs are a dictionary by name, or a list of them", actual=type(data).__name__)
    features, declared = model.inputs, {value.name: value for value in function.inputs}
    known_names(data, features)
    found: dict[str, Array] = {}
    for item in features:
        if item.name not in declared:
            raise InputError(f"the program has no input '{item.name}' that the description names")
        tensor, given = declared[item.name].tensor, data.get(item.name)
        found[item.name] = item.default(tensor) if given is None else item.to_program(given, tensor)
    return found
