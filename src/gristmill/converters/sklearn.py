"""The converter from scikit-learn, under coremltools' name."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Any

from gristmill.converters.common import finish
from gristmill.errors import InputTypeError, UnsupportedError
from gristmill.frontends import sklearn as frontend
from gristmill.frontends.classic import Feature, Predictor, Stage, SupportVectorMachine
from gristmill.models import classic_writer, datatypes
from gristmill.models.classic import interface
from gristmill.models.model import MLModel

__all__ = ["convert"]

OLDEST = (1, 4)
"""The first release of scikit-learn whose trees hold shares and not counts; those before are not read."""


def convert(
    sk_obj: Any, input_features: Any = None, output_feature_names: str | Sequence[str] | None = None
) -> MLModel:
    """Converts a fitted estimator of scikit-learn.

    Several models one after the other become a pipeline. ``docs/sklearn.md`` lists all estimators, the models that they
    become, and how exactly these agree.

    Args:
        sk_obj: A classifier, regressor or transformer; a pipeline, ``ColumnTransformer``, ``FeatureUnion`` or fitted
            search of them; or a list of estimators that are applied in order.
        input_features: The inputs. A name, ``"input"`` when left out, is one array of all columns; where some columns
            hold texts, each column is an input, under the name that it had when fitting. A list of names gives each
            column a name, and equal neighbours are one array. A dictionary has places of columns by name. A list of
            pairs of name and ``models.datatypes`` states types too.
        output_feature_names: For a classifier the names of label and probabilities, or the label's alone
            (``classLabel`` and ``classProbability``); for a regressor that of the number (``prediction``); for a
            transformer that of the array (``transformed_features``). A support vector classifier that was fitted
            without probabilities has none.

    Returns:
        The model.

    Raises:
        UnsupportedError: Core ML has no model for an estimator or a parameter; the message names both. It is a
            ``ValueError`` too.
        InputTypeError: The estimator has not been fitted, or names and types do not suit it.
    """
    _check_version()
    inputs = "input" if input_features is None else input_features
    if not isinstance(inputs, str):
        inputs = classic_writer.features_of(interface.as_features(inputs))
    flow = frontend.convert(sk_obj, inputs)
    spec = classic_writer.write_stages(flow.stages, flow.inputs, _outputs(flow.stages[-1], output_feature_names))
    return finish(spec, f"scikit-learn=={_version()}")


def _version() -> str:
    return metadata.version("scikit-learn")


def _check_version() -> None:
    try:
        version = _version()
    except ImportError as error:
        raise UnsupportedError(
            "scikit-learn is not installed",
            expected="scikit-learn 1.4 or later",
            hint="pip install 'gristmill[sklearn]'",
        ) from error
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise UnsupportedError(
            "this release of scikit-learn is too old", expected=".".join(map(str, OLDEST)), actual=version
        )


def _outputs(last: Stage, names: str | Sequence[str] | None) -> Any:
    """The outputs' names and types, as ``classic_writer`` takes them."""
    labels = classic_writer.labels_of(last.description)
    if labels is not None:
        scores = not isinstance(last.description, SupportVectorMachine) or bool(last.description.prob_a)
        return interface.classifier_outputs(names, labels) if scores else _label(names, labels[0])
    if names is not None and not isinstance(names, str):
        raise InputTypeError("there is one output", expected="a name", actual=names)
    if isinstance(last.description, Predictor):
        return names or "prediction"
    (array,) = last.outputs
    return classic_writer.pairs([Feature(names or "transformed_features", array.kind, array.size)])


def _label(names: str | Sequence[str] | None, label: int | str) -> list[tuple[str, Any]]:
    if names is not None and not isinstance(names, str):
        raise InputTypeError(
            "the classifier has no probabilities",
            expected="the label's name",
            actual=names,
            hint="fit with probability=True",
        )
    return [(names or "classLabel", datatypes.String() if isinstance(label, str) else datatypes.Int64())]
