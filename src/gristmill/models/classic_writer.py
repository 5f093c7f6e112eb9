"""Writes the descriptions of classic models that frontends make (``frontends.classic``) as ``Model`` messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np

from gristmill.errors import UnsupportedError
from gristmill.frontends import classic
from gristmill.frontends.classic import Branch, Description, Feature, Kind, Label, Node, Stage
from gristmill.models import datatypes, pipeline
from gristmill.models.classic import interface
from gristmill.models.nearest_neighbors import KNearestNeighborsClassifierBuilder
from gristmill.package import proto
from gristmill.package.proto import Message

_NEGLIGIBLE = 37
"""How far below zero a sum's logistic function is its exponential, to the last bit: exp(-37) is less than 2**-53."""
_FARTHEST = 700
"""The exponent of float64's range, with some room."""

LARGEST = 1 << 23
"""Nodes of the largest ensemble that is written, about 400 MB: copies for sets of categories multiply."""


def write_model(description: Description, inputs: Any, outputs: Any) -> Message:
    """Writes one model.

    Args:
        description: Its parameters.
        inputs: Its inputs, in any form that builders take.
        outputs: Its outputs, as builders take them: for classifiers the label's name, both names, or pairs of name and
            type; for regressors a name.

    Returns:
        The ``Model`` message.

    Raises:
        InputError: Features do not fit the model.
        UnsupportedError: The model is too large.
    """
    if isinstance(description, classic.NearestNeighbors):
        return _write_neighbors(description, inputs, outputs)
    spec = interface.new_model()
    parameters = getattr(spec, _field(description))
    parameters.SetInParent()
    _fill(description, parameters)
    labels = getattr(description, "labels", None)
    if labels is not None:
        interface.describe_classifier(spec, inputs, labels, outputs, parameters)
    elif isinstance(description, classic.Predictor):
        interface.describe_regressor(spec, inputs, outputs)
    else:
        interface.describe(spec, inputs, outputs)
    return spec


def write_stages(stages: Sequence[Stage], inputs: Sequence[Feature], outputs: Any) -> Message:
    """Writes models one after the other: as a pipeline, or where there is one that the format has, as it is.

    Args:
        stages: The models, the last one gives the outputs.
        inputs: What the whole takes.
        outputs: What it gives, as for ``write_model``.

    Returns:
        The ``Model`` message.

    Raises:
        InputError: Features do not fit the model.
        UnsupportedError: A model is too large, or its exponentials are.
    """
    names = {outputs} if isinstance(outputs, str) else {str(output[0]) for output in outputs or ()}
    names |= {feature.name for stage in stages for feature in (*stage.inputs, *stage.outputs)}
    *before, last = (part for stage in stages for part in _parts(stage, names))
    end = write_model(last.description, pairs(last.inputs), outputs)
    if not before:
        return _mark_optional(end, last.inputs)
    labels = labels_of(last.description)
    whole: pipeline.Pipeline
    if labels is not None:
        whole = pipeline.PipelineClassifier(pairs(inputs), labels, outputs)
    elif isinstance(last.description, classic.Predictor):
        whole = pipeline.PipelineRegressor(pairs(inputs), outputs)
    else:
        whole = pipeline.Pipeline(pairs(inputs), outputs)
    for stage in before:
        spec = write_model(stage.description, pairs(stage.inputs), pairs(stage.outputs))
        whole.add_model(_mark_optional(spec, stage.inputs))
    whole.add_model(_mark_optional(end, last.inputs))
    return _mark_optional(whole.spec, inputs)


def _parts(stage: Stage, names: set[str]) -> list[Stage]:
    """A model as models that the format has.

    The exponential function of a sum becomes ``exp(shift) · logistic(sum − shift)``. The two differ by the factor
    ``1 + exp(sum − shift)``, which is 1 to the last bit where the shift is 37 above all sums that trees can reach.

    Args:
        stage: The model.
        names: What a feature between two models cannot be called.
    """
    trees = stage.description
    if not (isinstance(trees, classic.TreeEnsemble) and trees.transform is classic.TreeTransform.EXPONENTIAL):
        return [stage]
    low, high = _reach(trees)
    shift = np.ceil(high) + _NEGLIGIBLE
    if not (shift <= _FARTHEST and shift - low <= _FARTHEST):
        raise UnsupportedError(
            "the exponentials of the trees' sums are too large, or too small",
            expected=f"sums up to {_FARTHEST - _NEGLIGIBLE}, and no farther from each other",
            actual=f"{low:.6g} to {high:.6g}",
            hint="convert the sums, and apply the exponential function to what the model gives",
        )
    width = len(trees.base)
    name = "exponential"
    while name in names:
        name += "_"
    between = Feature(name, Kind.DOUBLE if width == 1 else Kind.ARRAY, width)
    base = [float(value - shift) for value in trees.base]
    small = replace(trees, base=base, transform=classic.TreeTransform.LOGISTIC)
    large = classic.LinearModel(np.exp(shift) * np.eye(width), np.zeros(width))
    return [Stage(small, stage.inputs, [between]), Stage(large, [between], stage.outputs)]


def _reach(ensemble: classic.TreeEnsemble) -> tuple[float, float]:
    """Bounds of the sums of an ensemble, of all dimensions together."""
    low = high = np.asarray(ensemble.base, np.float64)
    for root in ensemble.trees:
        leaves, waiting, seen = [], [root], {id(root)}
        while waiting:
            node = waiting.pop()
            if isinstance(node, Branch):
                new = [child for child in (node.holds, node.fails) if id(child) not in seen]
                seen |= set(map(id, new))
                waiting += new
            else:
                leaves.append([node.values.get(dimension, 0.0) for dimension in range(len(ensemble.base))])
        low, high = low + np.min(leaves, axis=0), high + np.max(leaves, axis=0)
    return float(low.min()), float(high.max())


def labels_of(description: Description) -> list[Label] | None:
    """A classifier's labels in order; nothing for other models."""
    labels = getattr(description, "labels", None)
    return None if labels is None else list(dict.fromkeys(labels))


def pairs(features: Sequence[Feature]) -> list[tuple[str, Any]]:
    """Features as builders take them: pairs of name and ``datatypes``."""
    return [(feature.name, _datatype(feature)) for feature in features]


def _datatype(feature: Feature) -> Any:
    match feature.kind:
        case Kind.DOUBLE:
            return datatypes.Double()
        case Kind.INT64:
            return datatypes.Int64()
        case Kind.STRING:
            return datatypes.String()
        case Kind.ARRAY:
            return datatypes.Array(feature.size)
        case Kind.INT64_KEYS:
            return datatypes.Dictionary(datatypes.Int64())
        case Kind.STRING_KEYS:
            return datatypes.Dictionary(datatypes.String())


def features_of(declared: Sequence[tuple[str, Any]]) -> list[Feature]:
    """The opposite of ``pairs``."""
    kinds = {
        datatypes.Double(): Kind.DOUBLE,
        datatypes.Int64(): Kind.INT64,
        datatypes.String(): Kind.STRING,
        datatypes.Dictionary(datatypes.Int64()): Kind.INT64_KEYS,
        datatypes.Dictionary(datatypes.String()): Kind.STRING_KEYS,
    }
    return [Feature(name, kinds.get(kind, Kind.ARRAY), kind.num_elements or 0) for name, kind in declared]


def _mark_optional(spec: Message, features: Sequence[Feature]) -> Message:
    optional = {feature.name for feature in features if feature.optional}
    for declared in spec.description.input:
        if declared.name in optional:
            declared.type.isOptional = True
    return spec


def _field(description: Description) -> str:
    """The field of ``Model`` that holds such a description."""
    role = "Regressor" if getattr(description, "labels", None) is None else "Classifier"
    match description:
        case classic.TreeEnsemble():
            return f"treeEnsemble{role}"
        case classic.LinearModel():
            return f"glm{role}"
        case classic.SupportVectorMachine():
            return f"supportVector{role}"
        case _:
            name = type(description).__name__
            return name[0].lower() + name[1:]


# --- parameters ----------------------------------------------------------------------------------------------------


@singledispatch
def _fill(description: Any, parameters: Message) -> None:
    """Writes a description into the message of its type."""
    raise TypeError(f"no description of a classic model: {description}")


@_fill.register
def _(description: classic.TreeEnsemble, parameters: Message) -> None:
    count = sum(root.count for root in description.trees)
    if count > LARGEST:
        raise UnsupportedError(
            "the trees have too many nodes",
            expected=f"{LARGEST} or fewer",
            actual=count,
            hint="a branch on a set of categories is copied for each of them: use fewer categories or trees",
        )
    ensemble = parameters.treeEnsemble
    ensemble.numPredictionDimensions = len(description.base)
    ensemble.basePredictionValue.extend(float(value) for value in description.base)
    transforms = proto.enum("TreeEnsemblePostEvaluationTransform")
    parameters.postEvaluationTransform = transforms.Value(description.transform.value)
    behaviors = proto.message("TreeEnsembleParameters.TreeNode").TreeNodeBehavior
    values = {comparison: behaviors.Value(comparison.value) for comparison in classic.Comparison}
    for number, root in enumerate(description.trees):
        _write_tree(ensemble.nodes, number, root, values, behaviors.LeafNode)


def _write_tree(nodes: Any, tree: int, root: Node, comparisons: dict[classic.Comparison, int], leaf: int) -> None:
    """Writes a tree, numbering nodes as they come; what several branches share is written for each."""
    used, waiting = 1, [(0, root)]
    while waiting:
        number, node = waiting.pop()
        if isinstance(node, Branch):
            nodes.add(
                treeId=tree,
                nodeId=number,
                nodeBehavior=comparisons[node.comparison],
                branchFeatureIndex=node.feature,
                branchFeatureValue=node.threshold,
                trueChildNodeId=used,
                falseChildNodeId=used + 1,
                missingValueTracksTrueChild=node.missing_holds,
            )
            waiting += [(used + 1, node.fails), (used, node.holds)]
            used += 2
        else:
            written = nodes.add(treeId=tree, nodeId=number, nodeBehavior=leaf)
            for index, value in node.values.items():
                written.evaluationInfo.add(evaluationIndex=index, evaluationValue=value)


@_fill.register
def _(description: classic.LinearModel, parameters: Message) -> None:
    for row in np.asarray(description.weights, np.float64):
        parameters.weights.add(value=row)
    parameters.offset.extend(np.asarray(description.offset, np.float64))
    if description.one_vs_rest:
        parameters.classEncoding = parameters.OneVsRest


@_fill.register
def _(description: classic.SupportVectorMachine, parameters: Message) -> None:
    kernel = description.kernel
    chosen = getattr(parameters.kernel, f"{kernel.kind}Kernel")
    chosen.SetInParent()
    for name in ("gamma", "c", "degree"):
        if name in chosen.DESCRIPTOR.fields_by_name:
            setattr(chosen, name, getattr(kernel, name))
    for row in np.asarray(description.vectors, np.float64):
        parameters.denseSupportVectors.vectors.add(values=row)
    rows = np.asarray(description.coefficients, np.float64)
    rho = np.asarray(description.rho, np.float64).reshape(-1)
    if description.labels is None:
        parameters.coefficients.alpha.extend(rows.reshape(-1))
        parameters.rho = rho[0]
        return
    for row in rows:
        parameters.coefficients.add(alpha=row)
    parameters.rho.extend(rho)
    parameters.numberOfSupportVectorsPerClass.extend(int(count) for count in description.counts)
    parameters.probA.extend(float(value) for value in description.prob_a)
    parameters.probB.extend(float(value) for value in description.prob_b)


def _write_neighbors(description: classic.NearestNeighbors, inputs: Any, outputs: Any) -> Message:
    """By the builder; its names of outputs are replaced."""
    ((source, _),) = interface.as_features(inputs)
    (label, _), (probabilities, _) = interface.classifier_outputs(outputs, description.labels)
    builder = KNearestNeighborsClassifierBuilder(
        source,
        label,
        np.shape(description.samples)[1],
        description.default,
        index_type="linear" if description.leaf_size is None else "kd_tree",
        leaf_size=description.leaf_size or 1,
        input_type=datatypes.Double,
    )
    most = max(len(description.samples), description.neighbors)
    builder.set_number_of_neighbors_with_bounds(description.neighbors, allowed_range=(1, most))
    builder.add_samples(list(description.samples), description.labels)
    builder.is_updatable = False
    del builder.spec.description.trainingInput[:]
    builder.spec.description.output[1].name = probabilities
    builder.spec.description.predictedProbabilitiesName = probabilities
    return builder.spec


@_fill.register
def _(description: classic.Scaler, parameters: Message) -> None:
    parameters.shiftValue.extend(np.asarray(description.shift, np.float64))
    parameters.scaleValue.extend(np.asarray(description.scale, np.float64))


@_fill.register
def _(description: classic.Normalizer, parameters: Message) -> None:
    parameters.normType = parameters.NormType.Value(description.norm)


@_fill.register
def _(description: classic.Imputer, parameters: Message) -> None:
    if isinstance(description.value, str):
        parameters.imputedStringValue = description.value
    else:
        parameters.imputedDoubleArray.vector.extend(np.asarray(description.value, np.float64))
    if isinstance(description.replaced, str):
        parameters.replaceStringValue = description.replaced
    elif not isinstance(description.value, str):
        parameters.replaceDoubleValue = description.replaced


@_fill.register
def _(description: classic.DictVectorizer, parameters: Message) -> None:
    texts = isinstance(description.keys[0], str)
    (parameters.stringToIndex if texts else parameters.int64ToIndex).vector.extend(description.keys)


@_fill.register
def _(description: classic.OneHotEncoder, parameters: Message) -> None:
    texts = isinstance(description.categories[0], str)
    (parameters.stringCategories if texts else parameters.int64Categories).vector.extend(description.categories)
    parameters.outputSparse = True
    parameters.handleUnknown = int(description.ignores_unknown)


@_fill.register
def _(description: classic.CategoricalMapping, parameters: Message) -> None:
    parameters.stringToInt64Map.map.update(description.numbers)
    parameters.int64Value = description.unknown


@_fill.register
def _(description: classic.FeatureVectorizer, parameters: Message) -> None:
    for name, size in description.sizes.items():
        parameters.inputList.add(inputColumn=name, inputDimensions=size)


@_fill.register
def _(description: classic.ArrayFeatureExtractor, parameters: Message) -> None:
    parameters.extractIndex.extend(int(place) for place in description.places)
