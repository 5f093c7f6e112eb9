"""A builder of classifiers by the nearest samples, under coremltools' name, and their update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gristmill.errors import InputError, InputTypeError, UnsupportedError
from gristmill.models import datatypes
from gristmill.models.classic import interface
from gristmill.models.classic.pipeline import nested_models
from gristmill.models.model import MLModel
from gristmill.package.proto import Message

_VERSION = 4  # the first with k-nearest neighbours
_INDEXES = ("linear", "kd_tree")
_WEIGHTINGS = {"uniform": "uniformWeighting", "inverse_distance": "inverseDistanceWeighting"}


class KNearestNeighborsClassifierBuilder:
    """Builds an updatable classifier, at first without samples.

    Args:
        input_name: The input, an array of numbers.
        output_name: The predicted label; ``{output_name}Probs`` are the labels' probabilities.
        number_of_dimensions: The input's size.
        default_class_label: What is predicted without samples; an integer or a text, as all labels are then.
        number_of_neighbors: How many samples vote.
        weighting_scheme: ``uniform`` or ``inverse_distance``.
        index_type: ``linear`` or ``kd_tree``.
        leaf_size: Of a k-d tree's leaves.
        input_type: ``datatypes.Double`` for an input of doubles; else it is of floats.

    Attributes:
        spec: The ``Model`` message so far.

    Raises:
        InputError: A number is out of range, or a name is none of those above.
        InputTypeError: The label is neither an integer nor a text.
    """

    def __init__(
        self,
        input_name: str,
        output_name: str,
        number_of_dimensions: int,
        default_class_label: int | str,
        *,
        number_of_neighbors: int = 5,
        weighting_scheme: str = "uniform",
        index_type: str = "linear",
        leaf_size: int = 30,
        input_type: Any = None,
    ) -> None:
        if number_of_dimensions < 1:
            raise InputError("another number of dimensions", expected="1 or more", actual=number_of_dimensions)
        self.spec = interface.new_model(_VERSION)
        self.spec.isUpdatable = True
        self._index.numberOfDimensions = number_of_dimensions
        self._index.squaredEuclideanDistance.SetInParent()
        self._describe(input_name, output_name, default_class_label, input_type)
        self.set_number_of_neighbors_with_bounds(number_of_neighbors, allowed_range=(1, 1000))
        self.weighting_scheme = weighting_scheme
        self.set_index_type(index_type, leaf_size)

    def _describe(self, input_name: str, output_name: str, label: int | str, input_type: Any) -> None:
        if isinstance(label, str):
            key: Any = datatypes.String()
            self._parameters.defaultStringLabel = label
            self._parameters.stringClassLabels.SetInParent()
        elif isinstance(label, int | np.integer):
            key = datatypes.Int64()
            self._parameters.defaultInt64Label = int(label)
            self._parameters.int64ClassLabels.SetInParent()
        else:
            raise InputTypeError("labels are integers or texts", actual=label)
        doubles = input_type in (datatypes.Double, datatypes.Double())
        description = self.spec.description
        array = datatypes.Array(self.number_of_dimensions)
        for features in (description.input, description.trainingInput):
            datatypes.declare(features.add(name=input_name).type, array, "DOUBLE" if doubles else "FLOAT32")
        for features in (description.output, description.trainingInput):
            datatypes.declare(features.add(name=output_name).type, key)
        probabilities = f"{output_name}Probs"
        datatypes.declare(description.output.add(name=probabilities).type, datatypes.Dictionary(key))
        description.predictedFeatureName, description.predictedProbabilitiesName = output_name, probabilities

    @property
    def _parameters(self) -> Message:
        return self.spec.kNearestNeighborsClassifier

    @property
    def _index(self) -> Message:
        return self._parameters.nearestNeighborsIndex

    # -- what it says of itself --------------------------------------------------------------------------------------

    @property
    def author(self) -> str:
        """Who made the model."""
        return str(self.spec.description.metadata.author)

    @author.setter
    def author(self, author: str) -> None:
        self.spec.description.metadata.author = author

    @property
    def license(self) -> str:
        """The licence under which it is given."""
        return str(self.spec.description.metadata.license)

    @license.setter
    def license(self, license: str) -> None:
        self.spec.description.metadata.license = license

    @property
    def description(self) -> str:
        """The author's summary of the model."""
        return str(self.spec.description.metadata.shortDescription)

    @description.setter
    def description(self, description: str) -> None:
        self.spec.description.metadata.shortDescription = description

    @property
    def is_updatable(self) -> bool:
        """Whether samples may be added later."""
        return bool(self.spec.isUpdatable)

    @is_updatable.setter
    def is_updatable(self, is_updatable: bool) -> None:
        self.spec.isUpdatable = is_updatable

    # -- parameters --------------------------------------------------------------------------------------------------

    @property
    def weighting_scheme(self) -> str:
        """How samples' votes are weighed: ``uniform`` or ``inverse_distance``."""
        field = self._parameters.WhichOneof("WeightingScheme")
        return next(name for name, own in _WEIGHTINGS.items() if own == field)

    @weighting_scheme.setter
    def weighting_scheme(self, weighting_scheme: str) -> None:
        name = str(weighting_scheme).lower()
        if name not in _WEIGHTINGS:
            raise InputTypeError("there is no such weighting scheme", expected=", ".join(_WEIGHTINGS), actual=name)
        getattr(self._parameters, _WEIGHTINGS[name]).SetInParent()

    @property
    def index_type(self) -> str:
        """How samples are searched: ``linear`` or ``kd_tree``."""
        return "kd_tree" if self._index.WhichOneof("IndexType") == "singleKdTreeIndex" else "linear"

    def set_index_type(self, index_type: str, leaf_size: int = 30) -> None:
        """Chooses how samples are searched, which changes no prediction.

        Args:
            index_type: ``linear`` or ``kd_tree``.
            leaf_size: Of a k-d tree's leaves.

        Raises:
            InputError: There is no such index, or the size is under 1.
        """
        name = str(index_type).lower()
        if name not in _INDEXES:
            raise InputTypeError("there is no such index", expected=", ".join(_INDEXES), actual=name)
        if name == "kd_tree":
            self.leaf_size = leaf_size
        else:
            self._index.linearIndex.SetInParent()

    @property
    def leaf_size(self) -> int:
        """Of a k-d tree's leaves."""
        return int(self._index.singleKdTreeIndex.leafSize)

    @leaf_size.setter
    def leaf_size(self, leaf_size: int) -> None:
        if leaf_size < 1:
            raise InputTypeError("leaves hold a sample or more", expected="1 or more", actual=leaf_size)
        self._index.singleKdTreeIndex.leafSize = leaf_size

    @property
    def number_of_dimensions(self) -> int:
        """The input's size."""
        return int(self._index.numberOfDimensions)

    @property
    def number_of_neighbors(self) -> int:
        """How many samples vote."""
        return int(self._parameters.numberOfNeighbors.defaultValue)

    def set_number_of_neighbors_with_bounds(
        self,
        number_of_neighbors: int,
        allowed_range: tuple[int, int] | None = None,
        allowed_set: set[int] | None = None,
    ) -> None:
        """Chooses how many samples vote, and what applications may change that to.

        Args:
            number_of_neighbors: How many.
            allowed_range: The least and the most.
            allowed_set: Or the possible numbers.

        Raises:
            InputError: Both or none of these are given, or the number is not among them.
        """
        if (allowed_range is None) == (allowed_set is None):
            raise InputError("either allowed_range or allowed_set is given")
        parameter = self._parameters.numberOfNeighbors
        if allowed_range is not None:
            low, high = allowed_range
            if not 0 < low <= number_of_neighbors <= high:
                raise InputError(
                    "the number of neighbours is out of range", expected=f"{low} … {high}", actual=number_of_neighbors
                )
            parameter.range.minValue, parameter.range.maxValue = low, high
        else:
            allowed = sorted(allowed_set or ())
            if number_of_neighbors not in allowed or min(allowed) < 1:
                raise InputError(
                    "the number of neighbours is not allowed", expected=allowed, actual=number_of_neighbors
                )
            parameter.set.values[:] = allowed
        parameter.defaultValue = number_of_neighbors

    def number_of_neighbors_allowed_range(self) -> tuple[int, int] | None:
        """The least and the most neighbours; nothing where no range is set."""
        parameter = self._parameters.numberOfNeighbors
        return (parameter.range.minValue, parameter.range.maxValue) if parameter.HasField("range") else None

    def number_of_neighbors_allowed_set(self) -> set[int] | None:
        """The possible numbers of neighbours; nothing where no set is given."""
        parameter = self._parameters.numberOfNeighbors
        return set(parameter.set.values) if parameter.HasField("set") else None

    def add_samples(self, data_points: Sequence[Sequence[float]], labels: Sequence[int | str]) -> None:
        """Adds samples.

        Args:
            data_points: A row of numbers for each.
            labels: A label for each.

        Raises:
            InputTypeError: There are none, rows have another size, or labels another type.
        """
        _add_samples(self.spec.kNearestNeighborsClassifier, data_points, labels)


def _add_samples(parameters: Message, points: Sequence[Sequence[float]], labels: Sequence[int | str]) -> None:
    index = parameters.nearestNeighborsIndex
    rows = np.asarray(points, np.float32)
    if not len(points) or rows.ndim != 2 or rows.shape[1] != index.numberOfDimensions or len(labels) != len(points):
        raise InputTypeError(
            "samples are rows of numbers with a label each",
            expected=f"[samples, {index.numberOfDimensions}], as many labels",
            actual=f"{list(rows.shape)}, {len(labels)} labels",
        )
    integers = parameters.WhichOneof("ClassLabels") == "int64ClassLabels"
    kind: Any = int | np.integer if integers else str
    if not all(isinstance(label, kind) for label in labels):
        raise InputTypeError(
            "labels have another type", expected="integers" if integers else "texts", actual=labels[:8]
        )
    for row in rows:
        index.floatSamples.add(vector=row)
    if integers:
        parameters.int64ClassLabels.vector.extend(int(label) for label in labels)
    else:
        parameters.stringClassLabels.vector.extend(str(label) for label in labels)


def update(model: MLModel, rows: Sequence[Mapping[str, Any]]) -> MLModel:
    """A model that knows more samples, as an update on a device makes it.

    Args:
        model: An updatable classifier by the nearest samples, or an updatable pipeline that ends with one.
        rows: The samples: values of the model's training inputs by name, one of them the label.

    Returns:
        The new model; the given one stays as it is.

    Raises:
        UnsupportedError: The model is of another type, or not updatable.
        InputError: A value is missing or does not fit.
    """
    spec = model.get_spec()
    if not spec.isUpdatable or not (model.stages or model.kind == "kNearestNeighborsClassifier"):
        raise UnsupportedError(
            "the model cannot be updated here",
            expected="an updatable kNearestNeighborsClassifier, or an updatable pipeline that ends with one",
            actual=f"{model.kind}, {'' if spec.isUpdatable else 'not '}updatable",
        )
    if model.stages:
        return _update_last(model, rows)
    names = [feature.name for feature in spec.description.trainingInput]
    label = str(spec.description.predictedFeatureName)
    if len(names) != 2 or label not in names:
        raise UnsupportedError("an update takes the input and the label", actual=names)
    points = next(name for name in names if name != label)
    if any(name not in row for row in rows for name in names):
        raise InputError("a training input is missing", expected=", ".join(names))
    _add_samples(spec.kNearestNeighborsClassifier, [row[points] for row in rows], [row[label] for row in rows])
    return MLModel(spec, compute_units=model.compute_unit)


def _update_last(model: MLModel, rows: Sequence[Mapping[str, Any]]) -> MLModel:
    """An updated pipeline: its last model learns what those before it make of the rows."""
    *before, last = model.stages
    features = [dict(row) for row in rows]
    for stage in before:
        names = [feature.name for feature in stage.inputs]
        given: list[Mapping[str, Any]] = [{name: row[name] for name in names if name in row} for row in features]
        for row, results in zip(features, stage.predict(given), strict=True):
            row |= results
    spec = model.get_spec()
    nested_models(spec)[-1].CopyFrom(update(last, features).get_spec())
    return MLModel(spec, compute_units=model.compute_unit, weights_dir=model.weights_dir)
