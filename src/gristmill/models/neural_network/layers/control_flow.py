"""Branches, loops, copies, and layers of the application's own."""

from __future__ import annotations

from collections.abc import Sequence

from gristmill.models.neural_network.layers.core import LayerBuilder
from gristmill.package.proto import Message

_FIRST_WITH_CUSTOM = 2


class ControlFlowLayers(LayerBuilder):
    """Layers that hold networks, and those that stand in them.

    A network inside is built by a builder of its own, on the message of the layer:
    ``NeuralNetworkBuilder(nn_spec=layer.branch.ifBranch)``. Its layers read and overwrite tensors of the outer network.
    """

    def add_branch(
        self, name: str, input_name: str, if_branch: Message | None = None, else_branch: Message | None = None
    ) -> Message:
        """Runs one network where the input is not 0, else the other; ``NeuralNetwork`` messages are copied."""
        return self._add("branch", name, input_name, (), ifBranch=if_branch or {}, elseBranch=else_branch or {})

    def add_loop(
        self,
        name: str,
        body_network: Message | None = None,
        input_name: str | None = None,
        condition: str | None = None,
        condition_network: Message | None = None,
        max_iterations: int | None = None,
    ) -> Message:
        """Runs a network again and again.

        Args:
            name: The layer's name.
            body_network: A ``NeuralNetwork``, which is copied.
            input_name: A tensor that holds how often.
            condition: The tensor that says before each round, unless it is 0, that there is one.
            condition_network: A ``NeuralNetwork`` that computes it, before each round.
            max_iterations: How often at most.
        """
        return self._add(
            "loop",
            name,
            input_name or (),
            (),
            bodyNetwork=body_network or {},
            conditionNetwork=condition_network or {},
            conditionVar=condition,
            maxLoopIterations=max_iterations,
        )

    def add_loop_break(self, name: str) -> Message:
        """Ends the loop that it stands in."""
        return self._add("loopBreak", name, (), ())

    def add_loop_continue(self, name: str) -> Message:
        """Goes on to the next round of the loop that it stands in."""
        return self._add("loopContinue", name, (), ())

    def add_copy(self, name: str, input_name: str, output_name: str) -> Message:
        """A copy of a tensor: how branches and loops overwrite one."""
        return self._add("copy", name, input_name, output_name)

    def add_custom(
        self,
        name: str,
        input_names: Sequence[str],
        output_names: Sequence[str],
        custom_proto_spec: Message | None = None,
    ) -> Message:
        """A layer that the application brings: ``gristmill.register_custom_layer`` gives its class.

        ``custom_proto_spec`` is a ``CustomLayerParams`` message, with the class's name, parameters and weights.
        """
        self._needs(_FIRST_WITH_CUSTOM)
        layer = self._add("custom", name, input_names, output_names)
        if custom_proto_spec is not None:
            layer.custom.MergeFromString(custom_proto_spec.SerializeToString())
        return layer
