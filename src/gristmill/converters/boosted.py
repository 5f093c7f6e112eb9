"""What the converters of boosted trees share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.converters.common import finish
from gristmill.errors import InputError
from gristmill.frontends.boosting.boosted import Boosted, Mode
from gristmill.frontends.classic import Label, Stage
from gristmill.models import datatypes
from gristmill.models.classic import interface
from gristmill.models.classic_writer import features_of, write_stages
from gristmill.models.model import MLModel


def write_boosted(
    boosted: Boosted,
    feature_names: Any,
    target: str,
    mode: str | None,
    class_labels: Sequence[Label] | None,
    n_classes: int | None,
) -> MLModel:
    """Writes boosted trees as a model of Core ML.

    Args:
        boosted: The trees.
        feature_names: Names of inputs in the order of the model's features; one text names one array of all; those of
            the model by default.
        target: The name of the output.
        mode: ``classifier``, ``regressor`` or ``raw``; what the objective says by default.
        class_labels: A classifier's labels; those of the model, or 0, 1, …, by default.
        n_classes: How many labels there are, which is checked.

    Raises:
        InputError: An argument does not fit the model.
        UnsupportedError: Core ML's trees cannot say what the model does.
    """
    if mode is None:
        mode = "regressor" if boosted.classes is None else "classifier"
    if mode not in [known.value for known in Mode]:
        raise InputError("there is no such mode", expected=", ".join(known.value for known in Mode), actual=mode)
    if n_classes is not None and mode == "classifier" and n_classes != boosted.classes:
        raise InputError("the model has another number of labels", expected=boosted.classes, actual=n_classes)
    description = boosted.describe(Mode(mode), None if class_labels is None else list(class_labels))
    width = len(description.base)
    several = description.labels is None and width > 1
    outputs = [(target, datatypes.Array(width))] if several else target
    inputs = features_of(_inputs(boosted, feature_names))
    return finish(write_stages([Stage(description, inputs)], inputs, outputs), boosted.source)


def _inputs(boosted: Boosted, names: Any) -> interface.Features:
    count = boosted.features
    if isinstance(names, str):
        return [(names, datatypes.Array(count))]
    own = boosted.names
    if names is None:
        names = own or [f"{boosted.prefix}{number}" for number in range(count)]
    features = interface.as_features(names)
    named = sum(kind.num_elements or 1 for _, kind in features)
    if named != count:
        raise InputError("the names are those of another number of features", expected=count, actual=named)
    if own and list(names) != list(own) and set(map(str, names)) == set(own):
        raise InputError("the names stand in another order than in the model", expected=", ".join(own))
    return features
