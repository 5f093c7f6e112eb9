"""What makes a network updatable on a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.errors import InputError, InputTypeError
from gristmill.models import datatypes
from gristmill.models.neural_network.layers.core import LayerBuilder, require
from gristmill.models.neural_network.update_optimizer_utils import AdamParams, Batch, RangeParam, SgdParams
from gristmill.package.network_fields import fill
from gristmill.package.network_messages import weights_in
from gristmill.package.proto import Message

_FIRST_UPDATABLE = 4
_UPDATABLE = ("convolution", "innerProduct")
"""Types of layers whose weights may change."""


class Training(LayerBuilder):
    """Methods that declare updates. In a network without a model around it they do nothing."""

    def make_updatable(self, trainables: Sequence[str]) -> None:
        """Lets weights of layers change in updates.

        Args:
            trainables: Names of layers that are convolutions or inner products.

        Raises:
            InputError: There is no such layer, one of another type, or the network has float16 weights, which updates
                do not change.
        """
        if self.spec is None:
            return
        halves = [layer.name for layer in self.nn_spec.layers if any(w.float16Value for w in weights_in(layer))]
        if halves:
            raise InputError(
                "a network with float16 weights cannot be updated",
                op=halves[0],
                hint="keep weights in float32, or split the model and update its last part",
            )
        found = [self._find(name, *_UPDATABLE) for name in trainables]
        self._needs(_FIRST_UPDATABLE)
        self.spec.isUpdatable = True
        self.nn_spec.updateParams.SetInParent()
        self.set_shuffle()
        for layer in found:
            layer.isUpdatable = True
            params = getattr(layer, layer.WhichOneof("layer"))
            params.weights.isUpdatable = params.bias.isUpdatable = True

    def _find(self, name: str, *kinds: str) -> Message:
        """A layer of certain types.

        Raises:
            InputError: There is none of this name, or it has another type.
        """
        layer = self.layer_specs.get(name)
        if layer is None:
            raise InputError("there is no such layer", expected=", ".join(self.layer_specs), actual=name)
        kind = layer.WhichOneof("layer")
        if kind not in kinds:
            raise InputError(
                "the layer has another type", op=f"{kind} '{name}'", expected=" or ".join(kinds), actual=kind
            )
        return layer

    def set_categorical_cross_entropy_loss(self, name: str, input: str) -> None:
        """Trains by the cross entropy of probabilities.

        Args:
            name: The loss's name.
            input: The tensor with the probabilities, which a softmax makes. A classifier's own take its labels in
                updates, others integers under this name with ``_true`` after it.

        Raises:
            InputError: No softmax makes that tensor, or a name is taken.
        """
        if self.spec is None:
            return
        makers = [layer.WhichOneof("layer") for layer in self.nn_spec.layers if input in layer.output]
        require("softmax" in makers, "the loss takes what a softmax makes", op=name, expected="a softmax", actual=input)
        target = self._add_loss("categoricalCrossEntropyLossLayer", name, input)
        description = self.spec.description
        own = self.spec.HasField("neuralNetworkClassifier") and input == description.predictedProbabilitiesName
        if own:
            label = next(output for output in description.output if output.name == description.predictedFeatureName)
            description.trainingInput.add(name=label.name).type.CopyFrom(label.type)
        else:
            datatypes.declare(description.trainingInput.add(name=target).type, datatypes.Array(1), "INT32")

    def set_mean_squared_error_loss(self, name: str, input_feature: Any = None) -> None:
        """Trains by the mean squared error.

        Args:
            name: The loss's name.
            input_feature: A tensor and its type. Updates take what it should be under its name with ``_true`` after it.

        Raises:
            InputError: A name is taken.
            InputTypeError: The feature is no pair of a name and an array's type.
        """
        if self.spec is None:
            return
        if not (
            isinstance(input_feature, tuple)
            and len(input_feature) == 2
            and isinstance(input_feature[0], str)
            and isinstance(input_feature[1], datatypes.Array)
        ):
            raise InputTypeError("a pair of a name and a datatypes.Array", op=name, actual=input_feature)
        target = self._add_loss("meanSquaredErrorLossLayer", name, input_feature[0])
        datatypes.declare(self.spec.description.trainingInput.add(name=target).type, input_feature[1])

    def _add_loss(self, kind: str, name: str, input: str) -> str:
        """Adds a loss, and the inputs to those of updates.

        Returns:
            The name of what the input should be.
        """
        assert self.spec is not None
        description, target = self.spec.description, f"{input}_true"
        require(name not in self.layer_specs, "a layer has the loss's name", op=name)
        outputs = [output.name for output in description.output]
        require(target not in outputs, "an output has the target's name", op=name, actual=target)
        loss = self.nn_spec.updateParams.lossLayers.add(name=name)
        fill(loss, {kind: {"input": input, "target": target}})
        self.layers.append(name)
        self.layer_specs[name] = loss
        description.trainingInput.extend(description.input)
        return target

    def set_sgd_optimizer(self, sgd_params: SgdParams) -> None:
        """Trains by stochastic gradient descent.

        Raises:
            InputTypeError: The parameters are others.
        """
        self._set_optimizer("sgdOptimizer", sgd_params, SgdParams, ("momentum",))

    def set_adam_optimizer(self, adam_params: AdamParams) -> None:
        """Trains by Adam.

        Raises:
            InputTypeError: The parameters are others.
        """
        self._set_optimizer("adamOptimizer", adam_params, AdamParams, ("beta1", "beta2", "eps"))

    def _set_optimizer(self, kind: str, params: SgdParams | AdamParams, expected: type, ranges: Sequence[str]) -> None:
        if self.spec is None:
            return
        if not isinstance(params, expected):
            raise InputTypeError("other parameters", expected=expected.__name__, actual=type(params).__name__)
        fields = {"learningRate": _range(params.lr), "miniBatchSize": _batch(params.batch)}
        fields |= {name: _range(getattr(params, name)) for name in ranges}
        self.nn_spec.updateParams.ClearField("optimizer")
        fill(self.nn_spec.updateParams.optimizer, {kind: fields})

    def set_epochs(self, epochs: int = 1, allowed_set: Sequence[int] | None = None) -> None:
        """How often an update goes through the samples, and what else an application may choose."""
        if self.spec is not None:
            self.nn_spec.updateParams.ClearField("epochs")
            fill(self.nn_spec.updateParams, {"epochs": _batch(Batch(epochs, allowed_set))})

    def set_shuffle(self, seed: int | None = None) -> None:
        """Takes the samples in random order, which a seed makes the same each time.

        Raises:
            InputTypeError: The seed is no integer.
        """
        if self.spec is None:
            return
        if not isinstance(seed, int | None):
            raise InputTypeError("a seed is an integer", actual=seed)
        order = {"shuffle": {"defaultValue": True}, "seed": None if seed is None else {"defaultValue": seed}}
        fill(self.nn_spec.updateParams, order)


def _range(param: RangeParam) -> dict[str, Any]:
    return {"defaultValue": param.value, "range": {"minValue": param.min, "maxValue": param.max}}


def _batch(batch: Batch) -> dict[str, Any]:
    return {"defaultValue": batch.value, "set": {"values": batch.allowed_set}}
