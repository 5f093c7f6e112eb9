"""Models of every classic type, written field by field as the format has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gristmill as ct
from gristmill.package import proto

DOUBLES = 65600  # ArrayFeatureType.ArrayDataType
INTEGERS = 131104


def model(
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    predicted: str = "",
    probabilities: str = "",
    version: int = 4,
) -> Any:
    """A ``Model`` without a type.

    Features are by name ``float``, ``int``, ``str``, ``{"key": type}``, ``[element type]``, or an array's shape.
    """
    spec = proto.message("Model")(specificationVersion=version)
    for features, described in ((spec.description.input, inputs), (spec.description.output, outputs)):
        for name, kind in described.items():
            declare(features.add(name=name).type, kind)
    spec.description.predictedFeatureName = predicted
    spec.description.predictedProbabilitiesName = probabilities
    return spec


def declare(type: Any, kind: Any) -> None:
    """Fills a ``FeatureType``."""
    match kind:
        case tuple():
            type.multiArrayType.dataType = DOUBLES
            type.multiArrayType.shape.extend(kind)
        case {"key": key}:
            getattr(type.dictionaryType, "int64KeyType" if key is int else "stringKeyType").SetInParent()
        case [element]:
            getattr(type.sequenceType, "int64Type" if element is int else "stringType").SetInParent()
        case _:
            getattr(type, {float: "doubleType", int: "int64Type", str: "stringType"}[kind]).SetInParent()


def run(spec: Any, **inputs: Any) -> dict[str, Any]:
    """One prediction."""
    return ct.models.MLModel(spec).predict(inputs)


def classifier(count: int, labels: list[Any]) -> Any:
    """A classifier of rows ``x``, without a type."""
    key = type(labels[0])
    return model({"x": (count,)}, {"label": key, "p": {"key": key}}, "label", "p")


def regressor(count: int) -> Any:
    """A regressor of rows ``x``, without a type."""
    return model({"x": (count,)}, {"y": float}, "y")


def transformer(source: Any, target: Any) -> Any:
    """A transformer of ``x`` to ``y``, without a type."""
    return model({"x": source}, {"y": target})


# --- one of each -----------------------------------------------------------------------------------------------------


def branch(trees: Any, tree: int, node: int, feature: int, mode: str, value: float, children: tuple[int, int]) -> Any:
    made = trees.nodes.add(treeId=tree, nodeId=node, branchFeatureIndex=feature, branchFeatureValue=value)
    made.nodeBehavior = type(made).TreeNodeBehavior.Value(mode)
    made.trueChildNodeId, made.falseChildNodeId = children
    return made


def leaf(trees: Any, tree: int, node: int, *values: float) -> None:
    made = trees.nodes.add(treeId=tree, nodeId=node)
    made.nodeBehavior = type(made).TreeNodeBehavior.LeafNode
    for index, value in enumerate(values):
        made.evaluationInfo.add(evaluationIndex=index, evaluationValue=value)


def stump(mode: str = "BranchOnValueLessThanEqual", missing: bool = False) -> Any:
    """10 where feature 0 compares with 2 as the mode says, else 20."""
    spec = regressor(1)
    trees = spec.treeEnsembleRegressor.treeEnsemble
    trees.numPredictionDimensions = 1
    trees.basePredictionValue.append(0)
    branch(trees, 0, 0, 0, mode, 2, (1, 2)).missingValueTracksTrueChild = missing
    leaf(trees, 0, 1, 10)
    leaf(trees, 0, 2, 20)
    return spec


def tree_classifier(labels: list[Any], scores: list[float], transform: str = "NoTransform") -> Any:
    """One tree of one leaf with these scores."""
    spec = classifier(1, labels)
    spec.treeEnsembleClassifier.postEvaluationTransform = proto.enum("TreeEnsemblePostEvaluationTransform").Value(
        transform
    )
    trees = spec.treeEnsembleClassifier.treeEnsemble
    trees.numPredictionDimensions = len(scores)
    trees.basePredictionValue.extend([0.0] * len(scores))
    leaf(trees, 0, 0, *scores)
    put_labels(spec.treeEnsembleClassifier, labels)
    return spec


def put_labels(parameters: Any, labels: list[Any]) -> None:
    kind = parameters.stringClassLabels if isinstance(labels[0], str) else parameters.int64ClassLabels
    kind.vector.extend(labels)


def glm_regressor() -> Any:
    """``2·x₀ + 3·x₁ + 1``."""
    spec = regressor(2)
    spec.glmRegressor.weights.add(value=[2, 3])
    spec.glmRegressor.offset.append(1)
    return spec


def glm_classifier(weights: list[list[float]], labels: list[Any]) -> Any:
    spec = classifier(len(weights[0]), labels)
    for row in weights:
        spec.glmClassifier.weights.add(value=row)
        spec.glmClassifier.offset.append(0)
    put_labels(spec.glmClassifier, labels)
    return spec


def svm_regressor() -> Any:
    """``K(x, (1, 0)) − 2·K(x, (0, 1)) − 0.5``."""
    spec = regressor(2)
    machine = spec.supportVectorRegressor
    machine.kernel.linearKernel.SetInParent()
    machine.denseSupportVectors.vectors.add(values=[1, 0])
    machine.denseSupportVectors.vectors.add(values=[0, 1])
    machine.coefficients.alpha.extend([1, -2])
    machine.rho = 0.5
    return spec


def svm_classifier() -> Any:
    """Three labels with a support vector each, on the axes; linear."""
    labels = ["a", "b", "c"]
    spec = classifier(3, labels)
    machine = spec.supportVectorClassifier
    machine.kernel.linearKernel.SetInParent()
    for axis in range(3):
        machine.sparseSupportVectors.vectors.add().nodes.add(index=axis + 1, value=1)
    machine.numberOfSupportVectorsPerClass.extend([1, 1, 1])
    machine.coefficients.add(alpha=[1, -1, -1])
    machine.coefficients.add(alpha=[1, 1, -1])
    machine.rho.extend([0, 0, 0])
    put_labels(machine, labels)
    return spec


def neighbors(samples: list[list[float]], labels: list[Any], k: int = 1, weighting: str = "uniformWeighting") -> Any:
    spec = classifier(2, labels or ["?"])
    parameters = spec.kNearestNeighborsClassifier
    index = parameters.nearestNeighborsIndex
    index.numberOfDimensions = 2
    index.linearIndex.SetInParent()
    index.squaredEuclideanDistance.SetInParent()
    for sample in samples:
        index.floatSamples.add(vector=sample)
    parameters.numberOfNeighbors.defaultValue = k
    parameters.numberOfNeighbors.range.minValue, parameters.numberOfNeighbors.range.maxValue = 1, 10
    getattr(parameters, weighting).SetInParent()
    if labels:
        put_labels(parameters, labels)
    return spec


def probit() -> Any:
    """Bias of mean 0.5, variance 0.25. Feature 0: value 1 has mean 1, variance 0.5. Feature 1: value 3 has −2, 2."""
    extras = ("optimism", "scale", "truncation")
    outputs = dict.fromkeys(("y", "mean", "variance", "pessimistic", "sampled"), float)
    spec = model({"x": (2,), **dict.fromkeys(extras, float)}, outputs, "y")
    spec.description.input[0].type.multiArrayType.dataType = INTEGERS
    for feature in spec.description.input[1:]:
        feature.type.isOptional = True
    p = spec.bayesianProbitRegressor
    p.numberOfFeatures = 2
    p.bias.mean, p.bias.precision = 0.5, 4
    for feature, value, mean, precision in ((0, 1, 1.0, 2.0), (1, 3, -2.0, 0.5)):
        weight = p.features.add(featureId=feature).weights.add(featureValue=value)
        weight.featureWeight.mean, weight.featureWeight.precision = mean, precision
    p.regressionInputFeatureName = "x"
    p.optimismInputFeatureName, p.samplingScaleInputFeatureName, p.samplingTruncationInputFeatureName = extras
    p.meanOutputFeatureName, p.varianceOutputFeatureName = "mean", "variance"
    p.pessimisticProbabilityOutputFeatureName, p.sampledProbabilityOutputFeatureName = "pessimistic", "sampled"
    return spec


def recommender() -> Any:
    """Items a, b, c, d. To a, b is similar by 0.5 and c by 0.25; to b, c by 1. Item c is adjusted by 0.1."""
    inputs = {"items": {"key": str}, "count": int, "only": [str], "without": [str]}
    spec = model(inputs, {"best": [str], "scores": {"key": str}})
    for feature in spec.description.input[1:]:
        feature.type.isOptional = True
    p = spec.itemSimilarityRecommender
    a, b, c = (p.itemItemSimilarities.add(itemId=number) for number in range(3))
    a.similarItemList.add(itemId=1, similarityScore=0.5)
    a.similarItemList.add(itemId=2, similarityScore=0.25)
    b.similarItemList.add(itemId=2, similarityScore=1)
    c.itemScoreAdjustment = 0.1
    p.itemStringIds.vector.extend("abcd")
    p.itemInputFeatureName, p.numRecommendationsInputFeatureName = "items", "count"
    p.itemRestrictionInputFeatureName, p.itemExclusionInputFeatureName = "only", "without"
    p.recommendedItemListOutputFeatureName, p.recommendedItemScoreOutputFeatureName = "best", "scores"
    return spec


def scaler(shift: list[float], scale: list[float], width: int = 2) -> Any:
    spec = transformer((width,), (width,))
    spec.scaler.shiftValue.extend(shift)
    spec.scaler.scaleValue.extend(scale)
    spec.scaler.SetInParent()
    return spec


def normalizer(norm: str) -> Any:
    spec = transformer((2,), (2,))
    spec.normalizer.normType = type(spec.normalizer).NormType.Value(norm)
    return spec


def imputer(value: float = 5.0, replaced: float | None = None) -> Any:
    spec = transformer((3,), (3,))
    spec.imputer.imputedDoubleValue = value
    if replaced is not None:
        spec.imputer.replaceDoubleValue = replaced
    return spec


def one_hot(categories: list[Any], *, sparse: bool = False, ignore: bool = False) -> Any:
    spec = transformer(type(categories[0]), {"key": int} if sparse else (len(categories),))
    kind = "stringCategories" if isinstance(categories[0], str) else "int64Categories"
    getattr(spec.oneHotEncoder, kind).vector.extend(categories)
    spec.oneHotEncoder.outputSparse = sparse
    spec.oneHotEncoder.handleUnknown = int(ignore)
    return spec


def mapping() -> Any:
    spec = transformer(str, int)
    spec.categoricalMapping.stringToInt64Map.map.update({"a": 1, "b": 2})
    return spec


def dict_vectorizer() -> Any:
    spec = transformer({"key": str}, (4,))
    spec.dictVectorizer.stringToIndex.vector.extend("acbz")
    return spec


def feature_vectorizer() -> Any:
    spec = model({"a": float, "b": (2,), "c": {"key": int}, "d": int}, {"y": (6,)})
    for name, width in (("a", 1), ("b", 2), ("c", 2), ("d", 1)):
        spec.featureVectorizer.inputList.add(inputColumn=name, inputDimensions=width)
    return spec


def extractor(indices: list[int], target: Any = None) -> Any:
    spec = transformer((2, 2), target or (len(indices),))
    spec.arrayFeatureExtractor.extractIndex.extend(indices)
    return spec


def suppression(*, per_class: bool = False, count: int | None = None) -> Any:
    spec = model({"confidence": (), "boxes": (), "iou": float, "least": float}, {"kept": (), "where": ()})
    for feature in spec.description.input[2:]:
        feature.type.isOptional = True
    if count is not None:
        spec.description.output[0].type.multiArrayType.shape.extend([count, 2])
    p = spec.nonMaximumSuppression
    p.pickTop.perClass = per_class
    p.iouThreshold, p.confidenceThreshold = 0.5, 0.1
    p.confidenceInputFeatureName, p.coordinatesInputFeatureName = "confidence", "boxes"
    p.iouThresholdInputFeatureName, p.confidenceThresholdInputFeatureName = "iou", "least"
    p.confidenceOutputFeatureName, p.coordinatesOutputFeatureName = "kept", "where"
    p.stringClassLabels.vector.extend("ab")
    return spec


def thresholding() -> Any:
    spec = transformer((3,), (2, 3))
    spec.classConfidenceThresholding.SetInParent()
    return spec


def identity() -> Any:
    spec = model({"x": (2,), "s": str}, {"x": (2,), "s": str})
    spec.identity.SetInParent()
    return spec


def pipeline(kind: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any], *models: Any) -> Any:
    predicted = list(outputs)
    spec = model(inputs, outputs, *(predicted[:2] if kind != "pipeline" else ()))
    holder = getattr(spec, kind) if kind == "pipeline" else getattr(spec, kind).pipeline
    for nested in models:
        holder.models.add().CopyFrom(nested)
    return spec


def scaled_tree() -> Any:
    """A scaler before a stump: 10 for x ≤ 1, else 20."""
    first = scaler([0], [2], width=1)
    return pipeline("pipelineRegressor", {"x": (1,)}, {"y": float}, first, _of_y(stump()))


def _of_y(spec: Any) -> Any:
    """The stump, fed with ``y`` and giving ``y``: a name that comes twice, as coremltools' own pipelines have it."""
    spec.description.input[0].name = "y"
    return spec


def custom() -> Any:
    spec = transformer(float, float)
    spec.customModel.className = "Doubler"
    spec.customModel.parameters["times"].doubleValue = 2
    return spec


def linked(name: str = "there.mlmodel", path: str = "") -> Any:
    spec = regressor(2)
    spec.linkedModel.linkedModelFile.linkedModelFileName.defaultValue = name
    spec.linkedModel.linkedModelFile.linkedModelSearchPath.defaultValue = path
    return spec


def closed(kind: str) -> Any:
    spec = transformer(str, str)
    parameters = getattr(spec, kind)
    parameters.SetInParent()
    if "modelParameterData" in parameters.DESCRIPTOR.fields_by_name:
        parameters.modelParameterData = b"private \x00 bytes"
    return spec


EVERY: Mapping[str, Callable[[], Any]] = {
    "arrayFeatureExtractor": lambda: extractor([3, 0]),
    "bayesianProbitRegressor": probit,
    "categoricalMapping": mapping,
    "classConfidenceThresholding": thresholding,
    "customModel": custom,
    "dictVectorizer": dict_vectorizer,
    "featureVectorizer": feature_vectorizer,
    "glmClassifier": lambda: glm_classifier([[1, -1]], ["no", "yes"]),
    "glmRegressor": glm_regressor,
    "identity": identity,
    "imputer": imputer,
    "itemSimilarityRecommender": recommender,
    "kNearestNeighborsClassifier": lambda: neighbors([[0, 0], [4, 0]], ["a", "b"]),
    "linkedModel": linked,
    "nonMaximumSuppression": suppression,
    "normalizer": lambda: normalizer("L2"),
    "oneHotEncoder": lambda: one_hot(["a", "b"]),
    "pipeline": lambda: pipeline("pipeline", {"x": (2,)}, {"y": (2,)}, scaler([1], [2])),
    "pipelineClassifier": lambda: pipeline(
        "pipelineClassifier", {"x": (1,)}, {"label": str, "p": {"key": str}}, tree_classifier(["a", "b"], [0.25, 0.75])
    ),
    "pipelineRegressor": scaled_tree,
    "scaler": lambda: scaler([1], [2]),
    "supportVectorClassifier": svm_classifier,
    "supportVectorRegressor": svm_regressor,
    "treeEnsembleClassifier": lambda: tree_classifier(["a", "b"], [0.25, 0.75]),
    "treeEnsembleRegressor": stump,
}
"""A model of each type that can run, by its field's name in ``Model``."""
