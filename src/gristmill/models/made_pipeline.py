"""Making a pipeline of whole models, weight files included."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gristmill.errors import InputError
from gristmill.models.classic import interface
from gristmill.models.compute_units import ComputeUnit
from gristmill.models.model import MLModel
from gristmill.package.proto import Message


def make_pipeline(*models: MLModel, compute_units: ComputeUnit | None = None) -> MLModel:
    """A model that runs others one after the other.

    Inputs that no earlier model makes are the pipeline's; so are outputs that no later model takes.

    Args:
        models: Two or more, of any types.
        compute_units: Which units may run it; those of the models when left out, if they agree.

    Raises:
        InputError: There are fewer than two models, their units differ, or one has several functions or states.
    """
    if len(models) < 2:
        raise InputError("a pipeline is made of two models or more", actual=len(models))
    units = {model.compute_unit for model in models}
    if compute_units is None and len(units) > 1:
        raise InputError("the models have different compute units", hint="state compute_units")
    specs = [model.get_spec() for model in models]
    if any(spec.description.functions or spec.description.state for spec in specs):
        raise InputError("a model with several functions or states is no part of a pipeline")
    pipeline = interface.new_model(max(spec.specificationVersion for spec in specs))
    _describe(pipeline, specs)
    folder = Path(tempfile.mkdtemp(prefix="gristmill-"))
    for number, (model, spec) in enumerate(zip(models, specs, strict=True)):
        _take_weights(model, spec, folder, number)
    pipeline.pipeline.models.extend(specs)
    made = MLModel(pipeline, compute_units=compute_units or units.pop(), weights_dir=folder)
    weakref.finalize(made.package, shutil.rmtree, folder, ignore_errors=True)
    return made


def _describe(pipeline: Message, specs: list[Message]) -> None:
    known: set[str] = set()
    for spec in specs:
        for feature in spec.description.input:
            if feature.name not in known:
                pipeline.description.input.add().CopyFrom(feature)
                known.add(feature.name)
        known.update(feature.name for feature in spec.description.output)
    for number, spec in enumerate(specs):
        later = specs[number + 1 :]
        taken = {feature.name for other in later for feature in (*other.description.input, *other.description.output)}
        for feature in spec.description.output:
            if feature.name not in taken:
                pipeline.description.output.add().CopyFrom(feature)


def _take_weights(model: MLModel, spec: Message, folder: Path, number: int) -> None:
    """Copies a model's weight files under names of their own, and refers to these."""
    source = model.weights_dir
    if source is None:
        return
    for value in _blobs(spec):
        value.fileName = f"@model_path/weights/{number}-{value.fileName.rsplit('/', 1)[-1]}"
    for file in Path(source).iterdir():
        if file.is_file():
            shutil.copyfile(file, folder / f"{number}-{file.name}")


def _blobs(message: Any) -> Iterator[Message]:
    """All references to weight files in a message."""
    if message.DESCRIPTOR.name == "BlobFileValue":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            parts = value.values() if field.message_type.fields_by_name["value"].message_type else ()
        else:
            parts = [value] if hasattr(value, "ListFields") else value
        for part in parts:
            yield from _blobs(part)
