"""Models for fixed sizes, made of one for many."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from gristmill.errors import InputError, InputTypeError, UnsupportedError
from gristmill.ir.clone import clone_function
from gristmill.ir.program import Program
from gristmill.ir.verify import verify
from gristmill.models.features import ArrayFeature
from gristmill.models.halves import described_as
from gristmill.models.model import MLModel
from gristmill.package import Package
from gristmill.package.description import describe
from gristmill.passes.fixed_shapes import with_fixed_shapes
from gristmill.passes.infra import run_passes
from gristmill.passes.pipeline import cleanup


def materialize_dynamic_shape_mlmodel(
    dynamic_shape_mlmodel: MLModel,
    function_name_to_materialization_map: Mapping[str, Mapping[str, Sequence[int]]],
    destination_path: str | os.PathLike[str],
    source_function_name: str = "main",
) -> None:
    """Writes a model that has, beside its own functions, copies of one of them for fixed shapes.

    Weights are stored once. What hangs on sizes alone is computed now. A model whose only function is ``main`` and is
    replaced stays a model without functions; every other result needs iOS 18.

    Args:
        dynamic_shape_mlmodel: An ML Program whose inputs and outputs are arrays.
        function_name_to_materialization_map: For the name of each new function the shapes of its inputs. A function of
            this name is replaced.
        destination_path: Ends in ``.mlpackage``.
        source_function_name: The function to copy.

    Raises:
        InputError: There is no such function or input, or it does not allow the shape.
        UnsupportedError: An input or output is no array.
    """
    model = dynamic_shape_mlmodel
    if not isinstance(model, MLModel):
        raise InputTypeError("what is made for fixed shapes is an MLModel", actual=type(model).__name__)
    for item in (*model.inputs, *model.outputs):
        if not isinstance(item, ArrayFeature):
            raise UnsupportedError(
                f"'{item.name}' is no array", expected="arrays for all inputs and outputs", actual=item.describe()
            )
    old = model.program
    source = old.functions.get(source_function_name)
    if source is None:
        raise InputError(
            f"the model has no function '{source_function_name}'",
            expected=", ".join(old.functions),
            actual=source_function_name,
        )
    new = Program(version=old.version, attributes=dict(old.attributes))
    for function in old.functions.values():
        if function.name not in function_name_to_materialization_map:
            new.add_function(clone_function(function))
    for name, shapes in function_name_to_materialization_map.items():
        fixed = Program()
        fixed.add_function(with_fixed_shapes(source, shapes, name))
        run_passes(fixed, cleanup(), verify=verify)
        new.add_function(fixed.functions[name])
    verify(new)
    description = described_as(model.package.description, describe(new), shapes=False)
    Package.from_program(new, description).save(destination_path)
