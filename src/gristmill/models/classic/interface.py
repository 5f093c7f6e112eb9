"""Inputs and outputs of the models that builders make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from gristmill.errors import InputError, InputTypeError
from gristmill.models import datatypes
from gristmill.package import proto
from gristmill.package.proto import Message

Features = list[tuple[str, Any]]
"""Names with ``datatypes``, in order."""


def new_model(version: int = 1) -> Message:
    """An empty ``Model``; classic types came with version 1."""
    return proto.message("Model")(specificationVersion=version)


def as_features(features: Any) -> Features:
    """Features in their standard form.

    Args:
        features: Pairs of name and type; or names of numbers, where equal neighbours are one array; or places by name:
            an integer for a number, a range of integers for an array.

    Raises:
        InputTypeError: They have another form.
        InputError: Names repeat, or places leave gaps.
    """
    if isinstance(features, Mapping) and not all(isinstance(v, int | np.integer | Sequence) for v in features.values()):
        features = list(features.items())
    if isinstance(features, Mapping):
        return _by_places(features)
    if isinstance(features, str) or not isinstance(features, Iterable):
        raise InputTypeError("features are pairs of name and type, or names", actual=features)
    features = list(features)
    if all(isinstance(one, str) for one in features):
        counted = [(name, len(list(group))) for name, group in groupby(features)]
        found: Features = [(name, datatypes.Array(n) if n > 1 else datatypes.Double()) for name, n in counted]
    elif all(isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], str) for one in features):
        found = [(name, datatypes.normalize(kind)) for name, kind in features]
    else:
        raise InputTypeError("features are pairs of name and type, or names", actual=features)
    if len({name for name, _ in found}) != len(found):
        raise InputError("two features have one name", actual=[name for name, _ in found])
    return found


def _by_places(features: Mapping[str, Any]) -> Features:
    places = {k: [int(v)] if isinstance(v, int | np.integer) else sorted(map(int, v)) for k, v in features.items()}
    ordered = sorted(places.items(), key=lambda item: item[1])
    if [place for _, own in ordered for place in own] != list(range(sum(map(len, places.values())))):
        raise InputError("places of features are 0, 1, … without gaps", actual=dict(features))
    return [(name, datatypes.Array(len(own)) if len(own) > 1 else datatypes.Double()) for name, own in ordered]


def classifier_outputs(outputs: Any, labels: Sequence[Any]) -> Features:
    """The label's and the probabilities' features.

    Args:
        outputs: Nothing, the label's name, both names, or pairs of name and type.
        labels: The labels.

    Raises:
        InputTypeError: Labels are neither all integers nor all texts, or types do not suit them.
    """
    labels = list(labels)
    if labels and all(isinstance(label, int | np.integer | np.bool_) for label in labels):
        key: Any = datatypes.Int64()
    elif labels and all(isinstance(label, str) for label in labels):
        key = datatypes.String()
    else:
        raise InputTypeError("labels are all integers or all texts", actual=labels[:8])
    if outputs is None or isinstance(outputs, str):
        outputs = (outputs or "classLabel", "classProbability")
    if len(outputs) == 2 and all(isinstance(name, str) for name in outputs):
        return [(outputs[0], key), (outputs[1], datatypes.Dictionary(key))]
    found = as_features(outputs)
    if len(found) > 1 and isinstance(found[0][1], datatypes.Dictionary):
        found = [found[1], found[0], *found[2:]]
    fits = found[0][1] == key and (len(found) == 1 or found[1][1] == datatypes.Dictionary(key))
    if not fits:
        raise InputTypeError("the outputs' types do not suit the labels", expected=f"{key}", actual=found)
    return found


def describe(spec: Message, inputs: Any, outputs: Any, training: Any = None, array_type: str = "DOUBLE") -> None:
    """Declares inputs, outputs and what an update takes; arrays of inputs and outputs have the stated element type."""
    description = spec.description
    for features, declared in ((description.input, inputs), (description.output, outputs)):
        for name, kind in as_features(declared):
            datatypes.declare(features.add(name=name).type, kind, array_type)
    if training is not None:
        describe_training(spec, training)


def describe_training(spec: Message, features: Any) -> None:
    """Declares what an update takes."""
    for name, kind in features:
        declared = spec.description.trainingInput.add(name=name)
        if kind:
            datatypes.declare(declared.type, kind)


def describe_classifier(
    spec: Message, inputs: Any, labels: Sequence[Any], outputs: Any, parameters: Message | None, training: Any = None
) -> None:
    """Declares a classifier; its labels go into ``parameters`` where these hold them."""
    found = classifier_outputs(outputs, labels)
    describe(spec, inputs, found, training)
    spec.description.predictedFeatureName = found[0][0]
    if len(found) > 1:
        spec.description.predictedProbabilitiesName = found[1][0]
    if parameters is None:
        return
    if found[0][1] == datatypes.String():
        parameters.stringClassLabels.vector.extend(labels)
    else:
        parameters.int64ClassLabels.vector.extend(int(label) for label in labels)


def describe_regressor(spec: Message, inputs: Any, outputs: Any, training: Any = None) -> None:
    """Declares a regressor with its one output."""
    found = as_features([outputs] if isinstance(outputs, str) else outputs or [("predicted_class", datatypes.Double())])
    if len(found) != 1 or not isinstance(found[0][1], datatypes.Double | datatypes.Array):
        raise InputError("a regressor has one output, a Double or an Array", actual=found)
    describe(spec, inputs, found, training)
    spec.description.predictedFeatureName = found[0][0]
