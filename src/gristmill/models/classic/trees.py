"""Decision trees, forests and boosted trees."""

from __future__ import annotations

import numpy as np

from gristmill.ir.constants import Array
from gristmill.models.classic.base import LARGEST, ClassicModel, Classifier, Regressor
from gristmill.ops.mathematics import sigmoid_of, softmax_of
from gristmill.package.proto import Message

_BLOCK = 1 << 17
"""Trees times rows that are walked at a time: their state stays in the second-level cache."""

_OUTCOMES = np.array(
    # less, equal, greater: whether the comparison holds
    [[1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1], [0, 1, 0], [1, 0, 1]],
    bool,
)
"""By ``TreeNodeBehavior``: ≤, <, ≥, >, =, ≠."""

_LEAF = 6
_NONE, _SOFTMAX, _LOGISTIC, _SOFTMAX_WITH_REFERENCE = range(4)  # TreeEnsemblePostEvaluationTransform


class Trees:
    """An ensemble, walked by all rows and trees at once.

    A node's four successors stand in one table: for a feature that is less, equal, greater or missing. So every branch
    mode costs the same, and a leaf follows itself. Trees stand in the order of their depths, deepest first: on each
    level those that still branch are the first ones.

    Args:
        model: Whose parameters they are, for errors.
        parameters: The ``TreeEnsembleParameters``.
    """

    def __init__(self, model: ClassicModel, parameters: Message) -> None:
        self.model = model
        self.width = int(parameters.numPredictionDimensions)
        if not 0 < self.width <= LARGEST:
            raise model.malformed("another number of prediction dimensions", expected="1 or more", actual=self.width)
        self.base = model.vector(parameters.basePredictionValue, self.width, "base prediction values")
        self._read_nodes(parameters.nodes)
        self._read_leaves(parameters.nodes)

    def _read_nodes(self, nodes: Message) -> None:
        if not nodes:
            raise self.model.malformed("the ensemble has no trees")
        places = {(node.treeId, node.nodeId): place for place, node in enumerate(nodes)}
        if len(places) != len(nodes):
            raise self.model.malformed("two nodes of a tree have one id")
        behaviors = np.array([node.nodeBehavior for node in nodes])
        if not np.isin(behaviors, range(7)).all():
            raise self.model.malformed("a node behaves in an unknown way", actual=behaviors.max())
        leaf = behaviors == _LEAF
        features = np.array([node.branchFeatureIndex for node in nodes], np.uint64)
        self.features_needed = int(features[~leaf].max(initial=0)) + 1
        if self.features_needed > LARGEST:
            raise self.model.malformed("a branch asks for a feature too far", actual=self.features_needed - 1)
        self.feature = np.where(leaf, 0, features).astype(np.int32)
        self.threshold = np.where(leaf, 0, [node.branchFeatureValue for node in nodes])
        if np.isnan(self.threshold).any():
            raise self.model.malformed("a branch compares with not-a-number")
        holds, fails = self._children(nodes, places, leaf)
        outcome = _OUTCOMES[np.where(leaf, 0, behaviors)]
        missing = np.array([node.missingValueTracksTrueChild for node in nodes], bool)
        outcome = np.concatenate([outcome, missing[:, None]], axis=1)
        self.successors = np.where(outcome, holds[:, None], fails[:, None]).astype(np.int32).reshape(-1)
        self._order(nodes, holds, fails, leaf)

    def _children(self, nodes: Message, places: dict[tuple[int, int], int], leaf: Array) -> tuple[Array, Array]:
        """The places of each node's children; a leaf's are its own."""
        holds, fails = np.arange(len(nodes)), np.arange(len(nodes))
        for place, node in enumerate(nodes):
            if not leaf[place]:
                tree = node.treeId
                try:
                    holds[place] = places[tree, node.trueChildNodeId]
                    fails[place] = places[tree, node.falseChildNodeId]
                except KeyError as error:
                    raise self.model.malformed(
                        f"node {node.nodeId} of tree {tree} has a child that is not there"
                    ) from error
        return holds, fails

    def _order(self, nodes: Message, holds: Array, fails: Array, leaf: Array) -> None:
        """Finds the trees' roots, deepest tree first, and how many trees branch on each level."""
        parents = np.bincount(np.concatenate([holds[~leaf], fails[~leaf]]), minlength=len(nodes))
        if (parents > 1).any():
            raise self.model.malformed("a node has two parents", actual=f"node {nodes[int(parents.argmax())].nodeId}")
        trees = np.unique(np.array([node.treeId for node in nodes], np.uint64), return_inverse=True)[1]
        roots = np.flatnonzero(parents == 0)
        if not np.array_equal(np.sort(trees[roots]), np.arange(trees.max() + 1)):
            raise self.model.malformed("a tree has one root, a node without parent")
        depth = np.zeros(trees.max() + 1, int)
        level, live, reached = 0, roots[~leaf[roots]], len(roots)
        while live.size:  # each node has one parent, so no node comes twice
            level += 1
            depth[trees[live]] = level
            children = np.concatenate([holds[live], fails[live]])
            reached += len(children)
            live = children[~leaf[children]]
        if reached != len(nodes):
            raise self.model.malformed("nodes cannot be reached from their tree's root", actual=len(nodes) - reached)
        deepest_first = np.argsort(-depth[trees[roots]], kind="stable")
        self.roots = roots[deepest_first].astype(np.int32)
        self.branching = [int((depth > level).sum()) for level in range(int(depth.max(initial=0)))]

    def _read_leaves(self, nodes: Message) -> None:
        """Leaves' contributions: tables ``[slot, node]`` of where each adds to, and what."""
        slots = max((len(node.evaluationInfo) for node in nodes), default=0)
        if slots * len(nodes) > LARGEST:
            raise self.model.malformed("leaves hold too many values")
        self.places = np.zeros((slots, len(nodes)), np.int64)
        self.values = np.zeros((slots, len(nodes)))
        for number, node in enumerate(nodes):
            if node.nodeBehavior == _LEAF:
                for slot, info in enumerate(node.evaluationInfo):
                    if info.evaluationIndex >= self.width:
                        raise self.model.malformed(
                            "a leaf adds to a dimension that is not there",
                            expected=f"less than {self.width}",
                            actual=info.evaluationIndex,
                        )
                    self.places[slot, number], self.values[slot, number] = info.evaluationIndex, info.evaluationValue

    def scores(self, x: Array) -> Array:
        """The base and the sums of the leaves that rows reach, ``[rows, dimensions]``, for ``[rows, features]``."""
        if x.shape[1] < self.features_needed:
            raise self.model.malformed(
                "a branch asks for a feature that is not there",
                expected=f"less than {x.shape[1]}",
                actual=self.features_needed - 1,
            )
        step = max(1, _BLOCK // len(self.roots))
        parts = [self._sum(x[begin : begin + step]) for begin in range(0, len(x), step)]
        return self.base + np.concatenate(parts) if parts else np.empty((0, self.width))

    def _sum(self, x: Array) -> Array:
        rows, features = x.shape
        flat, offset = x.reshape(-1), np.arange(rows, dtype=np.int32) * np.int32(features)
        missing = np.isnan(flat).any()
        node = np.repeat(self.roots[:, None], rows, axis=1)  # [trees, rows]
        for trees in self.branching:
            here = node[:trees]
            value = flat.take(self.feature.take(here) + offset)
            limit = self.threshold.take(here)
            relation = (value >= limit).view(np.int8) + (value > limit).view(np.int8)
            if missing:
                relation[np.isnan(value)] = 3
            node[:trees] = self.successors.take(here * 4 + relation)
        return self._leaves(node, rows)

    def _leaves(self, node: Array, rows: int) -> Array:
        if self.width == 1:
            return sum((values.take(node).sum(axis=0) for values in self.values), np.zeros(rows))[:, None]
        total = np.zeros(rows * self.width)
        first = np.arange(rows) * self.width
        for places, values in zip(self.places, self.values, strict=True):
            at = (places.take(node) + first).reshape(-1)
            total += np.bincount(at, weights=values.take(node).reshape(-1), minlength=total.size)
        return total.reshape(rows, self.width)


class TreeEnsembleRegressor(Regressor):
    """The trees' sum."""

    def __init__(self, model: Message) -> None:
        super().__init__(model)
        parameters = model.treeEnsembleRegressor
        self.trees = Trees(self, parameters.treeEnsemble)
        self.transform = parameters.postEvaluationTransform
        if self.transform not in range(4):
            raise self.malformed("an unknown transform", actual=self.transform)

    def values(self, x: Array) -> Array:
        scores = self.trees.scores(x)
        match self.transform:
            case 1:
                return softmax_of(scores)
            case 2:
                return sigmoid_of(scores)
            case 3:
                return softmax_of(_with_reference(scores))
            case _:
                return scores


class TreeEnsembleClassifier(Classifier):
    """Probabilities of the trees' sums."""

    def __init__(self, model: Message) -> None:
        super().__init__(model)
        parameters = model.treeEnsembleClassifier
        self.trees = Trees(self, parameters.treeEnsemble)
        self.transform = parameters.postEvaluationTransform
        count = len(self.labels)
        widths = {_NONE: {count}, _SOFTMAX: {count}, _LOGISTIC: {count}, _SOFTMAX_WITH_REFERENCE: {count - 1}}
        if count == 2:
            widths[_NONE] = widths[_LOGISTIC] = {1, 2}
        if self.trees.width not in widths.get(self.transform, ()):
            raise self.malformed(
                f"dimensions, {count} labels and transform do not fit",
                expected=" or ".join(map(str, sorted(widths.get(self.transform, ())))) or "a known transform",
                actual=f"{self.trees.width}, transform {self.transform}",
            )

    def probabilities(self, x: Array) -> tuple[Array, Array]:
        scores = self.trees.scores(x)
        match self.transform:
            case 1:
                scores = softmax_of(scores)
            case 2:
                scores = sigmoid_of(scores)
            case 3:
                scores = softmax_of(_with_reference(scores))
        if scores.shape[1] == 1:
            return self.of_two(scores[:, 0])
        return scores, scores.argmax(axis=1)


def _with_reference(scores: Array) -> Array:
    """Scores with a first one of zero before them."""
    return np.concatenate([np.zeros((len(scores), 1)), scores], axis=1)
