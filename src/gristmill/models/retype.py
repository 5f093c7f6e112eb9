"""Other floating types for the inputs and outputs of a finished model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gristmill.errors import InputError, InputTypeError, UnsupportedError
from gristmill.ir.clone import clone_program
from gristmill.ir.opset import iOS16
from gristmill.ir.program import Function
from gristmill.ir.types import DType, TensorType, fp16, fp32
from gristmill.ir.verify import verify
from gristmill.models.features import ARRAY_DTYPES
from gristmill.models.model import MLModel
from gristmill.package.proto import Message
from gristmill.passes.cast_cancelling import CastCancelling
from gristmill.passes.dead_code import DeadCode
from gristmill.passes.infra import run_passes
from gristmill.precision.boundary import set_input_dtype, set_output_dtype

_CODES = {dtype: code for code, dtype in ARRAY_DTYPES.items() if dtype in (fp16, fp32)}
_ALL = "*"


def change_input_output_tensor_type(
    ml_model: MLModel,
    from_type: int,
    to_type: int,
    function_names: Sequence[str] | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> MLModel:
    """Gives inputs and outputs another floating type; what is computed inside keeps its types.

    Args:
        ml_model: An ML Program, which stays as it is.
        from_type: Which tensors change: ``ArrayFeatureType.FLOAT16`` (65552) or ``FLOAT32`` (65568).
        to_type: What they become.
        function_names: Functions whose tensors change; ``main`` when left out.
        input_names: Inputs that change if they have ``from_type``, ``["*"]`` for all; none when left out.
        output_names: Outputs that change if they have ``from_type``; all when left out.

    Returns:
        The changed model.

    Raises:
        InputError: A type, function, input or output is not what it may be.
        UnsupportedError: The model is no ML Program.
    """
    if not isinstance(ml_model, MLModel):
        raise InputTypeError("this is no model", expected="an MLModel", actual=type(ml_model).__name__)
    if ml_model.kind != "mlProgram":
        raise UnsupportedError("only tensors of ML Programs change their type", actual=ml_model.kind)
    old, new = _dtype(from_type, "from_type"), _dtype(to_type, "to_type")
    program = clone_program(ml_model.program)
    package = ml_model.package.with_program(program)
    for name in ["main"] if function_names is None else function_names:
        if name not in program.functions:
            raise InputError(f"the model has no function '{name}'", expected=", ".join(program.functions), actual=name)
        function = program.functions[name]
        if new == fp16 and function.opset < iOS16:
            raise InputError("float16 inputs and outputs came with iOS 16", expected=iOS16, actual=function.opset)
        changed = set(_change_inputs(function, old, new, input_names or ()))
        changed |= set(_change_outputs(function, old, new, [_ALL] if output_names is None else output_names))
        _describe(package.description, name, changed, _CODES[new])
    run_passes(program, [CastCancelling(), DeadCode()], verify=verify)
    return MLModel(package, compute_units=ml_model.compute_unit, function_name=ml_model.function_name)


def _dtype(code: int, argument: str) -> DType:
    found = ARRAY_DTYPES.get(code)
    if found not in _CODES:
        raise InputError(f"{argument} of a tensor", expected="FLOAT16 (65552) or FLOAT32 (65568)", actual=code)
    assert found is not None
    return found


def _wanted(function: Function, names: Iterable[str], known: Sequence[str], what: str) -> set[str]:
    wanted = set(names)
    if _ALL in wanted:
        return set(known)
    for name in wanted:
        if name not in known:
            raise InputError(
                f"function '{function.name}' has no {what} '{name}'", expected=", ".join(known), actual=name
            )
    return wanted


def _change_inputs(function: Function, old: DType, new: DType, names: Iterable[str]) -> Iterator[str]:
    wanted = _wanted(function, names, [value.name for value in function.inputs], "input")
    for value in list(function.inputs):
        if value.name in wanted and isinstance(value.type, TensorType) and value.dtype == old:
            set_input_dtype(function, value.name, new)
            yield value.name


def _change_outputs(function: Function, old: DType, new: DType, names: Iterable[str]) -> Iterator[str]:
    wanted = _wanted(function, names, [value.name for value in function.outputs], "output")
    for index, value in enumerate(function.outputs):
        if value.name in wanted and isinstance(value.type, TensorType) and value.dtype == old:
            name = value.name
            set_output_dtype(function, index, new)
            yield name


def _describe(description: Message, function: str, names: set[str], code: int) -> None:
    """Changes the types in the model's description; images keep theirs."""
    parts = [part for part in description.functions if part.name == function] or [description]
    for part in parts:
        for feature in (*part.input, *part.output):
            if feature.name in names and feature.type.HasField("multiArrayType"):
                feature.type.multiArrayType.dataType = code
