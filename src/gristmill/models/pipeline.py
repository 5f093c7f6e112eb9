"""Builders of pipelines, under coremltools' names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.errors import InputError
from gristmill.models.classic import interface
from gristmill.models.model import MLModel
from gristmill.package import proto
from gristmill.package.proto import Message


class Pipeline:
    """Builds models one after the other as one model.

    Args:
        input_features: Pairs of name and ``datatypes``.
        output_features: The same.
        training_features: The same, of what an update takes.

    Attributes:
        spec: The ``Model`` message so far.
    """

    def __init__(self, input_features: Any, output_features: Any, training_features: Any = None) -> None:
        self.spec = interface.new_model()
        self.spec.pipeline.SetInParent()
        interface.describe(self.spec, input_features, output_features, training_features)

    @property
    def _pipeline(self) -> Message:
        return self.spec.pipeline

    def add_model(self, spec: Any) -> None:
        """Adds a model that sees the pipeline's inputs and the outputs of those before it.

        Args:
            spec: An ``MLModel``, a builder's ``spec``, or another ``Model`` message. Weight files do not come along:
                ``utils.make_pipeline`` takes ML Programs.

        Raises:
            InputError: The pipeline was declared updatable already.
        """
        if self.spec.isUpdatable:
            raise InputError("the pipeline is updatable already", hint="add all models before make_updatable")
        if isinstance(spec, MLModel):
            spec = spec.get_spec()
        model = self._pipeline.models.add()
        model.CopyFrom(proto.parse("Model", spec.SerializeToString()))
        self.spec.specificationVersion = max(self.spec.specificationVersion, model.specificationVersion)

    def make_updatable(self) -> None:
        """Declares that the pipeline can be updated: its last model has to be updatable, and no other.

        Raises:
            InputError: The last model is not, or another one is.
        """
        updatable = [model.isUpdatable for model in self._pipeline.models]
        if not updatable or not updatable[-1] or any(updatable[:-1]):
            raise InputError("the last model, and no other, is updatable", actual=updatable)
        self.spec.isUpdatable = True

    def set_training_input(self, training_input: Any) -> None:
        """Declares what an update takes: pairs of name and ``datatypes``."""
        interface.describe_training(self.spec, training_input)


class PipelineRegressor(Pipeline):
    """Builds a pipeline that ends in a regressor; arguments are as for ``Pipeline``."""

    def __init__(self, input_features: Any, output_features: Any, training_features: Any = None) -> None:
        self.spec = interface.new_model()
        self.spec.pipelineRegressor.SetInParent()
        interface.describe_regressor(self.spec, input_features, output_features, training_features)

    @property
    def _pipeline(self) -> Message:
        return self.spec.pipelineRegressor.pipeline


class PipelineClassifier(Pipeline):
    """Builds a pipeline that ends in a classifier.

    Args:
        input_features: Pairs of name and ``datatypes``.
        class_labels: The classifier's labels.
        output_features: The label's name, or the label's and the probabilities' names.
        training_features: As for ``Pipeline``.
    """

    def __init__(
        self,
        input_features: Any,
        class_labels: Sequence[Any],
        output_features: Any = None,
        training_features: Any = None,
    ) -> None:
        self.spec = interface.new_model()
        self.spec.pipelineClassifier.SetInParent()
        interface.describe_classifier(self.spec, input_features, class_labels, output_features, None, training_features)

    @property
    def _pipeline(self) -> Message:
        return self.spec.pipelineClassifier.pipeline
