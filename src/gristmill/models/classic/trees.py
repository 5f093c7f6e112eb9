"""Decision trees, forests and boosted trees."""

from __future__ import annotations

import numpy as np

from gristmill.ir.constants import Array
from gristmill.models.classic.base import LARGEST, ClassicModel, Classifier, Regressor
from gristmill.ops.mathematics import sigmoid_of, softmax_of
from gristmill.package.proto import Message

_BLOCK = 1 << 17
"""Trees times rows that are walked at a time: their state stays in the second-level cache."""

_LESS_EQUAL, _LESS, _GREATER_EQUAL, _GREATER, _EQUAL, _NOT_EQUAL, _LEAF = range(7)  # TreeNodeBehavior
_NONE, _SOFTMAX, _LOGISTIC, _SOFTMAX_WITH_REFERENCE = range(4)  # TreeEnsemblePostEvaluationTransform


class Trees:
    """An ensemble, walked by all rows and trees at once, a level at a time.

    All comparisons have one form: the second child follows where the feature is at least a threshold, or equal to it
    for the two modes that ask that, and the first child where it is not. A node's children stand side by side; a leaf
    follows itself, because nothing is at least not-a-number. Trees are walked in the order of their depths: those that
    still branch on a level are the first ones.

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
        if not parameters.nodes:
            raise model.malformed("the ensemble has no trees")
        nodes = list(parameters.nodes)
        modes = np.array([node.nodeBehavior for node in nodes])
        if not np.isin(modes, range(7)).all():
            raise model.malformed("a node behaves in an unknown way", actual=modes.max())
        place = self._order(nodes, modes)
        self._read_branches(nodes, modes, place)
        self._read_leaves(nodes, place)

    def _order(self, nodes: list[Message], modes: Array) -> Array:
        """Gives every node its place: level by level, children side by side."""
        count, leaf = len(nodes), modes == _LEAF
        first, second = self._children(nodes, modes)
        parents = np.bincount(np.concatenate([first[~leaf], second[~leaf]]), minlength=count)
        if (parents > 1).any():
            raise self.model.malformed("a node has two parents", actual=f"node {nodes[int(parents.argmax())].nodeId}")
        trees = np.unique(np.array([node.treeId for node in nodes], np.uint64), return_inverse=True)[1]
        roots = np.flatnonzero(parents == 0)
        if not np.array_equal(np.sort(trees[roots]), np.arange(trees.max() + 1)):
            raise self.model.malformed("a tree has one root, a node without parent")
        place, depth = np.zeros(count, np.int64), np.zeros(trees.max() + 1, int)
        self.first = np.arange(count, dtype=np.int32)
        place[roots] = np.arange(len(roots))
        level, used, live = 0, len(roots), roots[~leaf[roots]]
        while live.size:  # each node has one parent, so no node comes twice
            level += 1
            depth[trees[live]] = level
            at = used + 2 * np.arange(len(live))
            self.first[place[live]] = place[first[live]] = at
            place[second[live]] = at + 1
            used += 2 * len(live)
            children = np.concatenate([first[live], second[live]])
            live = children[~leaf[children]]
        if used != count:
            raise self.model.malformed("nodes cannot be reached from their tree's root", actual=count - used)
        self.roots = np.argsort(-depth[trees[roots]], kind="stable").astype(np.int32)
        self.branching = [int((depth > level).sum()) for level in range(int(depth.max(initial=0)))]
        return place

    def _children(self, nodes: list[Message], modes: Array) -> tuple[Array, Array]:
        """Each branch's children in the one form of all comparisons; a leaf's are itself."""
        index = {(node.treeId, node.nodeId): number for number, node in enumerate(nodes)}
        if len(index) != len(nodes):
            raise self.model.malformed("two nodes of a tree have one id")
        holds, fails = np.arange(len(nodes)), np.arange(len(nodes))
        for number in np.flatnonzero(modes != _LEAF).tolist():
            node = nodes[number]
            try:
                holds[number] = index[node.treeId, node.trueChildNodeId]
                fails[number] = index[node.treeId, node.falseChildNodeId]
            except KeyError as error:
                raise self.model.malformed(
                    f"node {node.nodeId} of tree {node.treeId} has a child that is not there"
                ) from error
        swapped = self._swapped(modes)
        return np.where(swapped, fails, holds), np.where(swapped, holds, fails)

    @staticmethod
    def _swapped(modes: Array) -> Array:
        """Where the child for which the comparison holds is the second one."""
        return np.isin(modes, [_GREATER_EQUAL, _GREATER, _EQUAL])

    def _read_branches(self, nodes: list[Message], modes: Array, place: Array) -> None:
        leaf = modes == _LEAF
        features = np.where(leaf, 0, np.array([node.branchFeatureIndex for node in nodes], np.uint64))
        self.features_needed = int(features.max()) + 1 if not leaf.all() else 0
        if self.features_needed > LARGEST:
            raise self.model.malformed("a branch asks for a feature too far", actual=self.features_needed - 1)
        threshold = np.array([node.branchFeatureValue for node in nodes], np.float64)
        if np.isnan(threshold[~leaf]).any():
            raise self.model.malformed("a branch compares with not-a-number")
        # More than a threshold is at least the next number; nothing is more than infinity, or at least not-a-number.
        beyond = np.where(np.isposinf(threshold), np.nan, np.nextafter(threshold, np.inf))
        threshold = np.where(np.isin(modes, [_LESS_EQUAL, _GREATER]), beyond, threshold)
        missing_holds = np.array([node.missingValueTracksTrueChild for node in nodes], bool)
        equal = np.isin(modes, [_EQUAL, _NOT_EQUAL])
        self.feature = _placed(features.astype(np.int32), place)
        self.threshold = _placed(np.where(leaf, np.nan, threshold), place)
        self.missing_is_second = _placed((missing_holds == self._swapped(modes)) & ~leaf, place)
        self.equal = _placed(equal, place) if equal.any() else None

    def _read_leaves(self, nodes: list[Message], place: Array) -> None:
        """Leaves' contributions: tables ``[slot, node]`` of where each adds to, and what."""
        slots = max(len(node.evaluationInfo) for node in nodes)
        if slots * len(nodes) > LARGEST:
            raise self.model.malformed("leaves hold too many values")
        self.places = np.zeros((slots, len(nodes)), np.int64)
        self.values = np.zeros((slots, len(nodes)))
        for node, at in zip(nodes, place.tolist(), strict=True):
            if node.nodeBehavior == _LEAF:
                for slot, info in enumerate(node.evaluationInfo):
                    if info.evaluationIndex >= self.width:
                        raise self.model.malformed(
                            "a leaf adds to a dimension that is not there",
                            expected=f"less than {self.width}",
                            actual=info.evaluationIndex,
                        )
                    self.places[slot, at], self.values[slot, at] = info.evaluationIndex, info.evaluationValue

    def scores(self, x: Array) -> Array:
        """The base and the sums of the leaves that rows reach, ``[rows, dimensions]``, for ``[rows, features]``."""
        if x.shape[1] < self.features_needed:
            raise self.model.malformed(
                "a branch asks for a feature that is not there",
                expected=f"less than {x.shape[1]}",
                actual=self.features_needed - 1,
            )
        if not self.features_needed:
            x = np.zeros((len(x), 1))
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
            threshold = self.threshold.take(here)
            second = value >= threshold
            if self.equal is not None:
                second = np.where(self.equal.take(here), value == threshold, second)
            if missing:
                second |= np.isnan(value) & self.missing_is_second.take(here)
            np.add(self.first.take(here), second, out=here)
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


def _placed(values: Array, place: Array) -> Array:
    """Values of nodes in the order of the nodes' places."""
    result = np.empty_like(values)
    result[place] = values
    return result


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
