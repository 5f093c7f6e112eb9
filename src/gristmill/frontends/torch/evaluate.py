"""Runs an exported graph beside the program that was made of it, so that the two can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.export.graph_signature import InputKind

from gristmill.errors import UnsupportedError
from gristmill.frontends.torch.dtypes import ir_dtype
from gristmill.frontends.torch.graph import Graph, Node, quiet
from gristmill.ir.constants import Array
from gristmill.ir.program import Value

_HALF = (torch.float16, torch.bfloat16)


class Source:
    """What a program was made of: the graph, and which of its nodes became which inputs, outputs and values.

    Args:
        graph: The graph that was lowered.
        inputs: The program's name of each tensor input, in the order of the nodes.
        outputs: Each output as a node, or a plain number, with its name in the program.
        values: What the nodes became. Only names are kept, which outlast passes and copies.

    Attributes:
        made_up: The example inputs are not the user's: floats in [0, 1) and zeros of the declared shapes.
    """

    made_up = False

    def __init__(
        self,
        graph: Graph,
        inputs: Mapping[Node, str],
        outputs: list[tuple[object, str]],
        values: Mapping[Node, Any],
    ) -> None:
        self._graph = graph
        self._inputs = dict(inputs)
        self._outputs = outputs
        self._values = {node: _names(found) for node, found in values.items() if node.op == "call_function"}

    @property
    def reason_to_skip(self) -> str | None:
        """Why a comparison is not possible, or says nothing; ``None`` when it is."""
        if self._arguments is None:
            return "the model carries no example inputs"
        for node in self._graph.needed:
            for meta in _flat(node.meta.get("val")):
                if isinstance(meta, torch.Tensor) and meta.dtype in _HALF:
                    return f"the model itself computes in {meta.dtype}, whose rounding is larger than the tolerance"
        return None

    def inputs(self) -> dict[str, Array]:
        """The example inputs by the names that they have in the program, in the source's own types and shapes."""
        assert self._arguments is not None
        return {name: _array(self._arguments[node]) for node, name in self._inputs.items()}

    def outputs(self) -> dict[str, Array]:
        """What the source returns for the example inputs, by the names that the outputs have in the program.

        Raises:
            RuntimeError: Or another exception: PyTorch documents no set of errors.
        """
        evaluation = _Evaluation(self._graph, self._arguments or {})
        wanted = {argument for argument, _ in self._outputs}
        found: dict[object, Any] = {node: value for node, value in evaluation.walk() if node in wanted}
        return {name: _array(found.get(argument, argument)) for argument, name in self._outputs}

    def replay(self, computed: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
        """Computes each operator of the source from operands that the program computed.

        So a difference is the operator's own: it neither comes from one before it, nor is it rounding that grew on
        the way, or that tipped a comparison.

        Args:
            computed: The program's values by name.

        Yields:
            The name of a value, and what the source makes in its place, in program order.
        """
        evaluation = _Evaluation(self._graph, self._arguments or {})
        for node, value in evaluation.walk():
            names, results = self._values.get(node, []), _flat(value)
            if len(names) != len(results):
                continue
            for name, result in zip(names, results, strict=True):
                if name in computed and isinstance(result, torch.Tensor):
                    yield name, _array(result)
            evaluation.env[node] = _replaced(value, [computed.get(name) for name in names])

    @cached_property
    def _arguments(self) -> dict[Node, Any] | None:
        """The example inputs by placeholder, as far as the program has them as inputs."""
        exported = self._graph.exported
        if exported.example_inputs is None:
            return None
        leaves = torch.utils._pytree.tree_leaves(exported.example_inputs)
        nodes = {node.name: node for node in self._graph.nodes if node.op == "placeholder"}
        specs = [s for s in exported.graph_signature.input_specs if s.kind is InputKind.USER_INPUT]
        if len(specs) != len(leaves):
            return None
        given = {nodes[spec.arg.name]: leaf for spec, leaf in zip(specs, leaves, strict=True)}
        return given if all(isinstance(given.get(node), torch.Tensor) for node in self._inputs) else None


class _Evaluation(torch.fx.Interpreter):
    """A walk over the needed nodes; whoever walks may replace what later nodes get in ``env``."""

    def __init__(self, graph: Graph, arguments: Mapping[Node, Any]) -> None:
        super().__init__(graph.exported.graph_module)
        self._graph, self._given = graph, arguments
        self._targets = {spec.arg.name: spec.target for spec in graph.exported.graph_signature.input_specs}

    def walk(self) -> Iterator[tuple[Node, Any]]:
        """Each needed node with its value, in order."""
        for node in self._graph.nodes:
            if node.op == "output" or node not in self._graph.needed:
                continue
            with quiet(), torch.no_grad():
                self.env[node] = self._stored(node) if node.op == "placeholder" else self.run_node(node)
            yield node, self.env[node]
            for dead in self.user_to_last_uses.get(node, ()):
                self.env.pop(dead, None)

    def _stored(self, node: Node) -> Any:
        if node in self._given:
            return self._given[node]
        exported, target = self._graph.exported, self._targets[node.name]
        for held in (exported.state_dict, exported.constants):
            if target in held:
                return held[target]
        raise UnsupportedError(f"'{node.name}' has no value to run the model with")


def _names(found: Any) -> list[str]:
    """Names of the values that a node became, one a result; an empty one where there is no such value."""
    if isinstance(found, list | tuple):
        return [name for part in found for name in _names(part)]
    return [found.name if isinstance(found, Value) and found.constant is None else ""]


def _flat(found: Any) -> list[Any]:
    if isinstance(found, list | tuple):
        return [item for part in found for item in _flat(part)]
    return [found]


def _replaced(value: Any, computed: list[Array | None]) -> Any:
    """A node's results with the program's in their place, in the types that PyTorch has."""
    if isinstance(value, list | tuple):
        flat = iter(computed)
        return [_replaced(part, [next(flat) for _ in _flat(part)]) for part in value]
    (array,) = computed
    if array is None or not isinstance(value, torch.Tensor) or array.shape != tuple(value.shape):
        return value
    return torch.from_numpy(np.array(array)).to(value.dtype)


def _array(value: Any) -> Array:
    """A result as an array of the type that it has in a program."""
    tensor = torch.as_tensor(value).detach()
    if tensor.is_complex():
        return np.asarray(tensor.resolve_conj().numpy())
    dtype = ir_dtype(tensor.dtype).numpy
    tensor = tensor.float() if tensor.dtype is torch.bfloat16 else tensor
    return np.asarray(tensor.resolve_neg().contiguous().numpy().astype(dtype))
