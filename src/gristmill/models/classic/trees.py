"""Decision trees, forests and boosted trees."""

from __future__ import annotations

import numpy as np

from gristmill.devices.cpu import _native
from gristmill.ir.constants import Array
from gristmill.models.classic.base import LARGEST, ClassicModel, Classifier, Regressor
from gristmill.ops.mathematics import sigmoid_of, softmax_of
from gristmill.package.proto import Message

_LESS_EQUAL, _LESS, _GREATER_EQUAL, _GREATER, _EQUAL, _NOT_EQUAL, _LEAF = range(7)  # TreeNodeBehavior
_NONE, _SOFTMAX, _LOGISTIC, _SOFTMAX_WITH_REFERENCE = range(4)  # TreeEnsemblePostEvaluationTransform


class Trees:
    """An ensemble, whose trees the native core walks (``native/kernels/trees``).

    All comparisons have one form: the second child follows where the feature is at least a threshold, or equal to it
    for the two modes that ask that, and the first child where it is not. A node's children stand side by side; a leaf
    follows itself, because nothing is at least not-a-number.

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
        place, first, roots = self._order(nodes, modes)
        begins, values, dimensions = self._read_leaves(nodes, modes, place)
        threshold, feature, equal, missing = (_placed(column, place) for column in self._read_branches(nodes, modes))
        self._forest = _native.Forest(
            threshold, feature, equal, missing, first, roots, begins, values, dimensions, self.width
        )

    def _order(self, nodes: list[Message], modes: Array) -> tuple[Array, Array, Array]:
        """Gives every node its place: tree by tree, level by level, children side by side.

        Returns:
            The nodes' places; the first child of what lies at each place, a leaf being its own; the roots' places.
        """
        count, leaf = len(nodes), modes == _LEAF
        first, second = self._children(nodes, modes)
        parents = np.bincount(np.concatenate([first[~leaf], second[~leaf]]), minlength=count)
        if (parents > 1).any():
            raise self.model.malformed("a node has two parents", actual=f"node {nodes[int(parents.argmax())].nodeId}")
        trees = np.unique(np.array([node.treeId for node in nodes], np.uint64), return_inverse=True)[1]
        roots = np.flatnonzero(parents == 0)
        if not np.array_equal(np.sort(trees[roots]), np.arange(trees.max() + 1)):
            raise self.model.malformed("a tree has one root, a node without parent")
        found, live = [roots], roots[~leaf[roots]]
        while live.size:  # each node has one parent, so no node comes twice
            children = np.stack([first[live], second[live]], axis=1).reshape(-1)
            found.append(children)
            live = children[~leaf[children]]
        levels = np.concatenate(found)
        if len(levels) != count:
            raise self.model.malformed("nodes cannot be reached from their tree's root", actual=count - len(levels))
        place = np.empty(count, np.int32)
        place[levels[np.argsort(trees[levels], kind="stable")]] = np.arange(count)
        return place, _placed(place[first], place), np.sort(place[roots])

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

    def _read_branches(self, nodes: list[Message], modes: Array) -> tuple[Array, Array, Array, Array]:
        """Each branch's threshold, its feature, whether it asks for equality, and where missing values go."""
        leaf = modes == _LEAF
        feature = np.where(leaf, 0, np.array([node.branchFeatureIndex for node in nodes], np.uint64))
        if feature.max() >= LARGEST:
            raise self.model.malformed("a branch asks for a feature too far", actual=feature.max())
        threshold = np.array([node.branchFeatureValue for node in nodes], np.float64)
        if np.isnan(threshold[~leaf]).any():
            raise self.model.malformed("a branch compares with not-a-number")
        # More than a threshold is at least the next number; nothing is more than infinity, or at least not-a-number.
        beyond = np.where(np.isposinf(threshold), np.nan, np.nextafter(threshold, np.inf))
        threshold = np.where(np.isin(modes, [_LESS_EQUAL, _GREATER]), beyond, threshold)
        missing_holds = np.array([node.missingValueTracksTrueChild for node in nodes], bool)
        missing_is_second = (missing_holds == self._swapped(modes)) & ~leaf
        return threshold, feature.astype(np.uint32), np.isin(modes, [_EQUAL, _NOT_EQUAL]), missing_is_second

    def _read_leaves(self, nodes: list[Message], modes: Array, place: Array) -> tuple[Array, Array, Array]:
        """Where each node's values begin, in the order of places, and what each adds to which dimension."""
        counts, values, dimensions = np.zeros(len(nodes) + 1, np.int64), [], []
        ordered = np.argsort(place).tolist()
        for at, number in enumerate(ordered):
            if modes[number] == _LEAF:
                infos = nodes[number].evaluationInfo
                counts[at + 1] = len(infos)
                values += [info.evaluationValue for info in infos]
                dimensions += [info.evaluationIndex for info in infos]
        if dimensions and max(dimensions) >= self.width:
            raise self.model.malformed(
                "a leaf adds to a dimension that is not there",
                expected=f"less than {self.width}",
                actual=max(dimensions),
            )
        return np.cumsum(counts), np.array(values, np.float64), np.array(dimensions, np.int64)

    def scores(self, x: Array) -> Array:
        """The base and the sums of the leaves that rows reach, ``[rows, dimensions]``, for ``[rows, features]``."""
        if x.shape[1] < self._forest.features:
            raise self.model.malformed(
                "a branch asks for a feature that is not there",
                expected=f"less than {x.shape[1]}",
                actual=self._forest.features - 1,
            )
        sums = np.zeros((len(x), self.width))
        self._forest.add_sums(x, sums, _native.default_threads())
        sums += self.base
        return sums


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
