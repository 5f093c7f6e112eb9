"""Builders of tree ensembles, under coremltools' names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gristmill.errors import InputError
from gristmill.models.classic import interface
from gristmill.package import proto
from gristmill.package.proto import Message


class TreeEnsembleBase:
    """What both builders share.

    Attributes:
        spec: The ``Model`` message so far.
        tree_spec: Its ``TreeEnsembleClassifier`` or ``TreeEnsembleRegressor``.
        tree_parameters: Its ``TreeEnsembleParameters``.
    """

    def __init__(self) -> None:
        self.spec = interface.new_model()
        self.tree_spec: Message = None
        self.tree_parameters: Message = None

    def set_default_prediction_value(self, values: float | Sequence[float]) -> None:
        """What leaves' values are added to: a number, or one for each dimension of the prediction."""
        numbers = list(values) if isinstance(values, Iterable) else [values]
        self.tree_parameters.numPredictionDimensions = len(numbers)
        self.tree_parameters.basePredictionValue[:] = [float(number) for number in numbers]

    def set_post_evaluation_transform(self, value: str) -> None:
        """What becomes of the sums.

        Args:
            value: ``NoTransform``, ``Classification_SoftMax``, ``Regression_Logistic`` or
                ``Classification_SoftMaxWithZeroClassReference``.

        Raises:
            InputError: It is none of these.
        """
        self.tree_spec.postEvaluationTransform = _value(proto.enum("TreeEnsemblePostEvaluationTransform"), value)

    def add_branch_node(
        self,
        tree_id: int,
        node_id: int,
        feature_index: int,
        feature_value: float,
        branch_mode: str,
        true_child_id: int,
        false_child_id: int,
        relative_hit_rate: float | None = None,
        missing_value_tracks_true_child: bool = False,
    ) -> None:
        """Adds a node that compares a feature.

        Args:
            tree_id: The tree.
            node_id: The node's number in its tree.
            feature_index: Which feature, counted through all inputs.
            feature_value: What it is compared with.
            branch_mode: ``BranchOnValueLessThanEqual`` and so on: ``LessThan``, ``GreaterThanEqual``, ``GreaterThan``,
                ``Equal``, ``NotEqual``.
            true_child_id: The node that follows where the comparison holds.
            false_child_id: The node that follows where it does not.
            relative_hit_rate: How often rows come here, as a hint.
            missing_value_tracks_true_child: Which way a missing value goes.

        Raises:
            InputError: There is no such mode.
        """
        node = self.tree_parameters.nodes.add(treeId=tree_id, nodeId=node_id)
        node.branchFeatureIndex, node.branchFeatureValue = int(feature_index), float(feature_value)
        node.trueChildNodeId, node.falseChildNodeId = int(true_child_id), int(false_child_id)
        node.nodeBehavior = _value(type(node).TreeNodeBehavior, branch_mode)
        node.missingValueTracksTrueChild = bool(missing_value_tracks_true_child)
        if relative_hit_rate is not None:
            node.relativeHitRate = relative_hit_rate

    def add_leaf_node(
        self,
        tree_id: int,
        node_id: int,
        values: float | Sequence[float] | Mapping[int, float],
        relative_hit_rate: float | None = None,
    ) -> None:
        """Adds a node where a tree ends.

        Args:
            tree_id: The tree.
            node_id: The node's number in its tree.
            values: What it adds: a number, one for each dimension, or numbers by dimension.
            relative_hit_rate: How often rows come here, as a hint.
        """
        node = self.tree_parameters.nodes.add(treeId=tree_id, nodeId=node_id)
        node.nodeBehavior = type(node).TreeNodeBehavior.LeafNode
        if relative_hit_rate is not None:
            node.relativeHitRate = relative_hit_rate
        if not isinstance(values, Mapping):
            values = dict(enumerate(values if isinstance(values, Iterable) else [values]))
        for index, value in values.items():
            node.evaluationInfo.add(evaluationIndex=int(index), evaluationValue=float(value))


def _value(names: Any, name: str) -> int:
    if name not in names.keys():  # noqa: SIM118  # an enumeration of protobuf is no mapping
        raise InputError("there is no such name", expected=", ".join(names.keys()), actual=name)
    return int(names.Value(name))


class TreeEnsembleRegressor(TreeEnsembleBase):
    """Builds a regressor.

    Args:
        features: The inputs: pairs of name and ``datatypes``, or names of numbers. Nodes count through their elements.
        target: The output: its name, or a list of one pair.
    """

    def __init__(self, features: Any, target: Any) -> None:
        super().__init__()
        interface.describe_regressor(self.spec, features, target)
        self.tree_spec = self.spec.treeEnsembleRegressor
        self.tree_parameters = self.tree_spec.treeEnsemble


class TreeEnsembleClassifier(TreeEnsembleBase):
    """Builds a classifier.

    Args:
        features: As for ``TreeEnsembleRegressor``.
        class_labels: Integers or texts.
        output_features: The label's name, or the label's and the probabilities' names.
    """

    def __init__(self, features: Any, class_labels: Sequence[Any], output_features: Any) -> None:
        super().__init__()
        self.tree_spec = self.spec.treeEnsembleClassifier
        self.tree_parameters = self.tree_spec.treeEnsemble
        interface.describe_classifier(self.spec, features, class_labels, output_features, self.tree_spec)
