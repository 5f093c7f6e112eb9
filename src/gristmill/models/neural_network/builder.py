"""``NeuralNetworkBuilder``: neural networks layer by layer, under coremltools' name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gristmill.errors import InputError, InputTypeError
from gristmill.models import datatypes
from gristmill.models.classic import interface
from gristmill.models.neural_network.inspection import Inspection
from gristmill.models.neural_network.layers.core import IOS_14, choice, require
from gristmill.models.neural_network.preprocessing import Preprocessing
from gristmill.models.neural_network.update_optimizer_utils import AdamParams, SgdParams
from gristmill.package.network_messages import network_of
from gristmill.package.proto import Message

__all__ = ["AdamParams", "NeuralNetworkBuilder", "SgdParams"]

_EXACT_ARRAYS = 4  # the first version in which arrays keep their shapes
_MODES = {"classifier": "neuralNetworkClassifier", "regressor": "neuralNetworkRegressor"}
_DEFAULTS = {"FLOAT": "floatDefaultValue", "DOUBLE": "doubleDefaultValue", "INT": "intDefaultValue"}

Shape = int | Sequence[int]


class NeuralNetworkBuilder(Preprocessing, Inspection):
    """Builds a neural network layer by layer; what a layer reads has to be made before.

    ``MLModel(builder.spec)`` runs what was built, ``utils.save_spec(builder.spec, path)`` writes it.

    Args:
        input_features: Pairs of name and ``datatypes.Array``.
        output_features: The same; a type of ``None`` leaves the shape open.
        mode: ``classifier`` or ``regressor``; a network without labels when left out.
        spec: A ``Model`` message with a network to go on with, changed in place.
        nn_spec: A ``NeuralNetwork`` message to build in, such as that of a branch.
        disable_rank5_shape_mapping: Arrays keep their shapes. Otherwise [C] and [C, H, W] get rank 5: sequence, batch,
            channels, height, width.
        training_features: What an update takes, as ``input_features``.
        use_float_arraytype: Inputs and outputs are float32, not double.

    Raises:
        InputError: ``spec`` has no network, or it and ``nn_spec`` are both given.
        InputTypeError: There are neither features nor a message.
    """

    def __init__(
        self,
        input_features: Any = None,
        output_features: Any = None,
        mode: str | None = None,
        spec: Message | None = None,
        nn_spec: Message | None = None,
        disable_rank5_shape_mapping: bool = False,
        training_features: Any = None,
        use_float_arraytype: bool = False,
    ) -> None:
        if spec is not None and nn_spec is not None:
            raise InputError("either spec or nn_spec is given", hint="a model has its network already")
        self.layers, self.layer_specs = [], {}
        self.spec = spec
        self._exact = disable_rank5_shape_mapping
        if nn_spec is not None:
            self.nn_spec = nn_spec
        elif spec is not None:
            self.nn_spec = network_of(spec)
            self._exact |= self.nn_spec.arrayInputShapeMapping == 1
        for layer in () if spec is None else self.nn_spec.layers:
            self.layers.append(layer.name)
            self.layer_specs[layer.name] = layer
        if input_features is None and output_features is None and (spec is not None or nn_spec is not None):
            return
        if nn_spec is None:
            self._describe(input_features, output_features, mode, training_features, use_float_arraytype)

    def _describe(self, inputs: Any, outputs: Any, mode: str | None, training: Any, floats: bool) -> None:
        """Declares the model from its features."""
        if inputs is None or outputs is None:
            raise InputTypeError("a network has input_features and output_features", actual=(inputs, outputs))
        if self.spec is None:
            self.spec = interface.new_model()
            self.nn_spec = getattr(self.spec, _MODES.get(mode or "", "neuralNetwork"))
            self.nn_spec.SetInParent()
        self.spec.specificationVersion = _EXACT_ARRAYS if self._exact else 1
        description = self.spec.description
        del description.input[:], description.output[:]
        array_type = "FLOAT32" if floats else "DOUBLE"
        interface.describe(
            self.spec,
            inputs,
            [(str(name), kind or datatypes.Array(1)) for name, kind in outputs],
            training,
            array_type=array_type,
        )
        for feature, (_, kind) in zip(description.output, outputs, strict=True):
            if kind is None:
                feature.type.multiArrayType.ClearField("shape")
        if self._exact:
            self.nn_spec.arrayInputShapeMapping = 1  # EXACT_ARRAY_MAPPING
            self.nn_spec.imageInputShapeMapping = 1  # RANK4_IMAGE_MAPPING

    # -- inputs and outputs ------------------------------------------------------------------------------------------

    def set_input(self, input_names: Sequence[str], input_dims: Sequence[Sequence[int]]) -> None:
        """Renames the inputs and gives them shapes, as doubles.

        Args:
            input_names: New names, in order.
            input_dims: Their shapes. Where arrays get rank 5 these are [C], [batch, C] or [C, H, W].

        Raises:
            InputError: There are not as many shapes as names, or a shape has another rank.
        """
        shapes = [tuple(dims) if self._exact else self._as_image(tuple(dims)) for dims in input_dims]
        self._redeclare(self._description.input, input_names, shapes)

    def set_output(self, output_names: Sequence[str], output_dims: Sequence[Sequence[int]]) -> None:
        """Renames the outputs and gives them shapes, as doubles.

        Args:
            output_names: New names, in order.
            output_dims: Their shapes.

        Raises:
            InputError: There are not as many shapes as names.
        """
        self._redeclare(self._description.output, output_names, [tuple(dims) for dims in output_dims])

    @staticmethod
    def _as_image(dims: tuple[int, ...]) -> tuple[int, ...]:
        require(1 <= len(dims) <= 3, "an input of another rank", expected="[C], [batch, C] or [C, H, W]", actual=dims)
        return dims[1:] if len(dims) == 2 else dims

    @staticmethod
    def _redeclare(features: Message, names: Sequence[str], shapes: Sequence[Sequence[int]]) -> None:
        require(len(names) == len(shapes), "as many names as shapes", expected=len(names), actual=len(shapes))
        require(len(names) <= len(features), "the model has fewer features", expected=len(features), actual=len(names))
        for feature, name, shape in zip(features, names, shapes, strict=False):
            feature.name = name
            array = feature.type.multiArrayType
            array.shape[:] = shape
            array.dataType = type(array).ArrayDataType.Value("DOUBLE")

    def set_optional_input(self, input_idx: int, value: float | None = None, format: str = "float") -> None:
        """Lets an application leave an input out.

        Args:
            input_idx: Its place.
            value: What stands for it then.
            format: That value's type: ``float``, ``double`` or ``int``.

        Raises:
            InputError: There is no such input or type.
        """
        inputs = self._description.input
        require(input_idx < len(inputs), "there is no such input", expected=f"below {len(inputs)}", actual=input_idx)
        kind = inputs[input_idx].type
        kind.isOptional = True
        if value is not None:
            setattr(kind.multiArrayType, choice("format", format, _DEFAULTS, inputs[input_idx].name), value)
            self._needs(IOS_14)

    def add_optionals(
        self,
        optionals_in: Sequence[tuple[str, Shape]],
        optionals_out: Sequence[tuple[str, Shape]],
    ) -> None:
        """Adds inputs and outputs that an application may leave out, such as states of recurrent layers.

        Args:
            optionals_in: Pairs of name and shape.
            optionals_out: Pairs of name and shape.
        """
        description = self._description
        for features, optionals in ((description.input, optionals_in), (description.output, optionals_out)):
            for name, dims in optionals:
                kind = features.add(name=str(name)).type
                datatypes.declare(kind, datatypes.Array(*((dims,) if isinstance(dims, int | np.integer) else dims)))
                kind.isOptional = features is description.input

    def set_training_input(self, training_input: Sequence[tuple[str, Any]]) -> None:
        """Declares what an update takes: pairs of name and ``datatypes``."""
        interface.describe_training(self.spec, training_input)

    def set_class_labels(
        self,
        class_labels: Sequence[int] | Sequence[str],
        predicted_feature_name: str = "classLabel",
        prediction_blob: str = "",
    ) -> None:
        """Makes the first output probabilities by label, and adds the most probable label as another.

        Args:
            class_labels: Integers or texts, in the order of the probabilities; without any the output's type alone
                changes.
            predicted_feature_name: The label's name.
            prediction_blob: The tensor with the probabilities; what the last layer makes when left out.

        Raises:
            InputError: The model has no output, or the network is no classifier.
            InputTypeError: A label is neither an integer nor a text.
        """
        description = self._description
        require(len(description.output) > 0, "a classifier has an output", hint="its first one holds the probabilities")
        require("stringClassLabels" in self.nn_spec.DESCRIPTOR.fields_by_name, "the network is no classifier",
                hint="make the builder with mode='classifier', or use utils.make_nn_classifier")  # fmt: skip
        probabilities = description.output[0]
        probabilities.type.dictionaryType.SetInParent()
        if len(class_labels) == 0:
            return
        integers = isinstance(class_labels[0], int | np.integer)
        if not integers and not isinstance(class_labels[0], str):
            raise InputTypeError("labels are integers or texts", actual=class_labels[0])
        key: Any = datatypes.Int64() if integers else datatypes.String()
        datatypes.declare(probabilities.type, datatypes.Dictionary(key))
        datatypes.declare(description.output.add(name=predicted_feature_name).type, key)
        description.predictedProbabilitiesName = probabilities.name
        description.predictedFeatureName = predicted_feature_name
        self.nn_spec.ClearField("ClassLabels")
        labels = self.nn_spec.int64ClassLabels if integers else self.nn_spec.stringClassLabels
        labels.vector.extend(class_labels)
        self.nn_spec.labelProbabilityLayerName = prediction_blob or self.nn_spec.layers[-1].output[0]

    @property
    def _description(self) -> Message:
        """The model's description.

        Raises:
            InputError: There is a network without a model around it.
        """
        require(self.spec is not None, "a network without a model has no inputs and outputs", hint="build with a spec")
        return self.spec.description  # type: ignore[union-attr]  # checked the line above
