"""Models made of models: pipelines, models in other files, models of the application's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeAlias

import numpy as np

from gristmill.errors import InputError, MissingFileError, UnsupportedError
from gristmill.models.classic.base import ClassicModel
from gristmill.models.classic.columns import Columns, column_of
from gristmill.package import Package, load
from gristmill.package.proto import Message


class Predictor(Protocol):
    """A whole model, such as ``MLModel``."""

    def predict(self, data: Any, /) -> Any:
        """Runs it on a list of rows."""


Opener: TypeAlias = Callable[[Package], ClassicModel | Predictor]
"""Makes what runs a model inside another."""


def nested_models(model: Message) -> Sequence[Message]:
    """The models of a pipeline, in order; none of another model."""
    kind = str(model.WhichOneof("Type") or "")
    if not kind.startswith("pipeline"):
        return ()
    parameters = getattr(model, kind)
    found: Sequence[Message] = (parameters if kind == "pipeline" else parameters.pipeline).models
    return found


def _thresholds(model: Message) -> tuple[str, ...]:
    """What non-maximum suppression takes by name although it does not list it, as in Apple's YOLOv3."""
    if model.WhichOneof("Type") != "nonMaximumSuppression":
        return ()
    p = model.nonMaximumSuppression
    return p.iouThresholdInputFeatureName, p.confidenceThresholdInputFeatureName


class Pipeline(ClassicModel):
    """Models one after the other: each sees the pipeline's inputs, and the outputs of those before it.

    Args:
        model: The ``Model`` message.
        package: What it is part of: its weight files are the nested models' too.
        open_model: Makes what runs a nested model.

    Attributes:
        observe: Told of each model that is no network after it ran: its type, when it began and how long it took.
    """

    observe: Callable[[str, float, float], None] | None = None

    def __init__(self, model: Message, package: Package, open_model: Opener) -> None:
        super().__init__(model)
        models = nested_models(model)
        if not models:
            raise self.malformed("a pipeline holds models")
        known = {slot.name: slot.kind for slot in self.inputs}
        self.stages: list[tuple[ClassicModel | Predictor, list[str], list[str]]] = []
        for number, nested in enumerate(models):
            takes = [feature.name for feature in nested.description.input]
            takes += [name for name in _thresholds(nested) if known.get(name) == "doubleType" and name not in takes]
            gives = [feature.name for feature in nested.description.output]
            for feature in nested.description.input:
                if feature.name not in known and not feature.type.isOptional:
                    raise self.malformed(
                        f"nothing before model {number} makes its input '{feature.name}'",
                        expected=", ".join(sorted(known)),
                    )
                kind = feature.type.WhichOneof("Type")
                if known.get(feature.name, kind) != kind:
                    raise self.malformed(
                        f"model {number} takes '{feature.name}' in another type than it is made in",
                        expected=known[feature.name],
                        actual=kind,
                    )
            known |= {feature.name: feature.type.WhichOneof("Type") for feature in nested.description.output}
            self.stages.append((open_model(package.nested(nested)), takes, gives))
        for slot in self.outputs:
            if slot.name not in known:
                raise self.malformed(f"no model makes the output '{slot.name}'", expected=", ".join(sorted(known)))

    def takes_gaps(self, name: str) -> bool:
        users = [stage for stage, takes, _ in self.stages if name in takes]
        given_back = any(slot.name == name for slot in self.outputs)
        return not given_back and all(isinstance(stage, ClassicModel) and stage.takes_gaps(name) for stage in users)

    def compute(self, columns: Columns) -> Columns:
        features = dict(columns)
        rows = next((len(column) for column in columns.values()), 1)
        for stage, takes, gives in self.stages:
            given = {name: features[name] for name in takes if name in features}
            found = self._classic(stage, given) if isinstance(stage, ClassicModel) else _by_rows(stage, given, gives)
            if not given:  # all that it takes is missing: what it makes of that is the same for every row
                found = {name: np.repeat(column, rows, axis=0) for name, column in found.items()}
            features |= found
        return features

    def _classic(self, stage: ClassicModel, given: Columns) -> Columns:
        begun = time.perf_counter()
        found = stage(given)
        if self.observe is not None and not isinstance(stage, Pipeline):
            self.observe(stage.kind, begun, time.perf_counter() - begun)
        return found


def _by_rows(model: Predictor, columns: Columns, outputs: Sequence[str]) -> Columns:
    """Runs a model that takes rows on columns."""
    count = next((len(column) for column in columns.values()), 1)
    results = model.predict([{name: column[row] for name, column in columns.items()} for row in range(count)])
    return {name: column_of([result[name] for result in results]) for name in outputs if name in results[0]}


def _holds_links(model: Message) -> bool:
    """Whether following a model's links could go on for ever."""
    return model.WhichOneof("Type") == "linkedModel" or any(map(_holds_links, nested_models(model)))


class LinkedModel(ClassicModel):
    """A model in another file, in a folder beside or below this one.

    Raises:
        UnsupportedError: It lies elsewhere, or in an application's bundle: a file that strangers wrote does not choose
            what is read here. Or it links to others itself.
        MissingFileError: It is not there.
    """

    def __init__(self, model: Message, package: Package, open_model: Opener) -> None:
        super().__init__(model)
        link = model.linkedModel.linkedModelFile
        name = link.linkedModelFileName.defaultValue
        folders = link.linkedModelSearchPath.defaultValue.split(":")
        for part in (name, *folders):
            if part.startswith(("/", "$", "~", "\\")) or ".." in PurePosixPath(part.replace("\\", "/")).parts:
                raise UnsupportedError("the linked model does not lie below this one", op=self.kind, actual=part)
        if package.path is None or not name:
            raise UnsupportedError(
                "a linked model is found from where this one lies", op=self.kind, hint="load the model from a file"
            )
        linked = load(self._find(package.path.parent, name, folders))
        if _holds_links(linked.spec):
            raise UnsupportedError("the linked model links to others", op=self.kind, expected="one link", actual=name)
        self.model = open_model(linked)

    def _find(self, root: Path, name: str, folders: Sequence[str]) -> Path:
        for folder in folders:
            path = root / folder / name
            if path.exists():
                if not path.resolve().is_relative_to(root.resolve()):
                    raise UnsupportedError("the linked model does not lie below this one", op=self.kind, actual=path)
                return path
        raise MissingFileError("the linked model is not there", location=root / folders[0] / name)

    def compute(self, columns: Columns) -> Columns:
        if isinstance(self.model, ClassicModel):
            return self.model(columns)
        return _by_rows(self.model, columns, [slot.name for slot in self.outputs])


CustomFactory: TypeAlias = Callable[[Mapping[str, Any]], Callable[[Mapping[str, Any]], Mapping[str, Any]]]

_CUSTOM: dict[str, CustomFactory] = {}


def register_custom_model(class_name: str, factory: CustomFactory) -> None:
    """Says what stands for a class of the application that custom models name.

    Args:
        class_name: The class as models name it.
        factory: Takes a model's parameters by name and gives a function from one row's inputs to its outputs, by name.
    """
    _CUSTOM[class_name] = factory


class CustomModel(ClassicModel):
    """A model that a class of the application computes."""

    def __init__(self, model: Message) -> None:
        super().__init__(model)
        name = model.customModel.className
        if name not in _CUSTOM:
            raise UnsupportedError(
                f"the model is computed by the application's class '{name}'",
                op=self.kind,
                hint=f"gristmill.models.classic.register_custom_model('{name}', factory)",
            )
        parameters = model.customModel.parameters.items()
        values = {key: value.WhichOneof("value") for key, value in parameters}
        self.function = _CUSTOM[name]({key: getattr(value, values[key]) for key, value in parameters if values[key]})

    def compute(self, columns: Columns) -> Columns:
        count = next((len(column) for column in columns.values()), 1)
        results = [self.function({name: c[row] for name, c in columns.items()}) for row in range(count)]
        columns = {}
        for slot in self.outputs:
            if any(slot.name not in result for result in results):
                raise InputError(f"the class gives no output '{slot.name}'", op=self.kind)
            columns[slot.name] = slot.read([result[slot.name] for result in results])
        return columns
