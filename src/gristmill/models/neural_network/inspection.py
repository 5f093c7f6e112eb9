"""Methods of the builder that print what it has built."""

from __future__ import annotations

from gristmill.models.neural_network.spec_inspection_utils import describe_feature, describe_layer
from gristmill.models.neural_network.training import Training
from gristmill.package.proto import Message


class Inspection(Training):
    """Printing; what came last is printed first."""

    def inspect_layers(self, last: int = -1, verbose: bool = False) -> None:
        """Prints layers.

        Args:
            last: How many, from the end; all of them where negative.
            verbose: With their parameters.
        """
        numbered = list(enumerate(self.nn_spec.layers))
        for place, layer in reversed(numbered[-last:] if last > 0 else numbered if last < 0 else []):
            _print_layer(f"[{place}] ", layer)
            if verbose:
                for name, text in describe_layer(layer):
                    print(f"      {name}: {text}")

    def inspect_updatable_layers(self) -> None:
        """Prints the layers whose weights updates change."""
        for layer in reversed(self.nn_spec.layers):
            if layer.isUpdatable:
                _print_layer("", layer)

    def inspect_loss_layers(self) -> None:
        """Prints the losses."""
        losses = self.nn_spec.updateParams.lossLayers
        if not losses:
            print("no loss")
        for place, loss in reversed(list(enumerate(losses))):
            kind = loss.WhichOneof("LossLayerType")
            own = getattr(loss, kind)
            print(f"[{place}] {loss.name} ({kind})\n      input: {own.input}\n      target: {own.target}")

    def inspect_optimizer(self) -> None:
        """Prints the optimiser, and the bounds within which its parameters may change."""
        optimizer = self.nn_spec.updateParams.optimizer
        kind = optimizer.WhichOneof("OptimizerType")
        print(f"optimizer: {kind}")
        for field, value in getattr(optimizer, kind).ListFields() if kind else ():
            allowed = value.WhichOneof("AllowedValues")
            bounds = f"in {list(value.set.values)}" if allowed == "set" else ""
            bounds = f"from {value.range.minValue} to {value.range.maxValue}" if allowed == "range" else bounds
            print(f"      {field.name}: {value.defaultValue} {bounds}".rstrip())

    def inspect_input_features(self) -> None:
        """Prints the inputs."""
        self._print_features("input")

    def inspect_output_features(self) -> None:
        """Prints the outputs."""
        self._print_features("output")

    def _print_features(self, which: str) -> None:
        features = [] if self.spec is None else getattr(self.spec.description, which)
        for place, feature in reversed(list(enumerate(features))):
            print(f"[{place}] {feature.name}: {describe_feature(feature)}")

    def inspect_conv_channels(self, layer_name: str) -> None:
        """Prints the channels of a convolution.

        Raises:
            InputError: There is no such layer, or one of another type.
        """
        params = self._find(layer_name, "convolution").convolution
        print(f"output channels: {params.outputChannels}\nkernel channels: {params.kernelChannels}")

    def inspect_innerproduct_channels(self, layer_name: str) -> None:
        """Prints the channels of an inner product.

        Raises:
            InputError: There is no such layer, or one of another type.
        """
        params = self._find(layer_name, "innerProduct").innerProduct
        print(f"input channels: {params.inputChannels}\noutput channels: {params.outputChannels}")


def _print_layer(mark: str, layer: Message) -> None:
    kind = layer.WhichOneof("layer")
    updatable = ", updatable" if layer.isUpdatable else ""
    print(f"{mark}{layer.name} ({kind}{updatable}): {', '.join(layer.input)} -> {', '.join(layer.output)}")
