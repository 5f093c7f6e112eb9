"""The page ``docs/model-types.md``: what becomes of each type of model.

Written down by hand are only first versions, builders, and words; whether a type runs is asked of the code.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import gristmill as ct
from gristmill.errors import UnsupportedError
from gristmill.models.classic import ALONE, CLOSED, MADE_OF_MODELS
from gristmill.package import proto

HEAD = """\
# Model types

Every type of model that Core ML's format has, and what can be done with it here; derived from the code by
`python -m tools.generate`.

*Since*: the first version of the format that has the type, and the release that came with it. *Reads*: the file is
loaded and described, and saved again byte for byte. *Writes*: with what such a model is made from nothing; others are
filled in field by field (`utils.load_spec`, `utils.save_spec`). *Runs*: `predict` gives results, for a row or a batch.
*Updates*: as an application may update the model on a device; `—` where Core ML has no update either.

Whatever a file of these types holds, an error that it causes is one of `gristmill.errors`.
"""

NOTES = """\
## How exactly

Classic models compute in float64. Where the format's own text leaves a choice, this is what happens:

- **Ties of two classes.** Where a model computes one score for two labels, a probability of one half predicts the
  second: coremltools moves scikit-learn's ties, which go to the first label, under one half for that reason. Among
  equal scores of several labels the first one wins.
- **`normalizer`, LMax** divides by the largest element, as the text says, not by the largest magnitude.
- **`dictVectorizer`** leaves keys out that it does not know. The text forbids them; coremltools' tests on Apple's
  systems ignore them.
- **`kNearestNeighborsClassifier`** weighs by the inverse of the squared distance, the only distance that the format
  has. A sample at distance zero outvotes all others. Equal votes go to the label with the nearest sample.
- **`bayesianProbitRegressor`** has noise of scale 1, as the format holds no other. The variance is that of the sum of
  weights, without noise. Samples are random, unseeded.
- **`supportVectorClassifier`** predicts the likeliest label where it holds probabilities, else the one with the most
  votes; its probabilities then are shares of votes. The iteration that couples pairs ends where LIBSVM's does.
- **`classConfidenceThresholding`** lets every class pass. The format's text says that Core ML does.
- **`linkedModel`** is followed to files in its own folder and below, once. Other paths are refused: a file does not
  choose what is read on this computer.
- **`customModel`** runs after `gristmill.models.classic.register_custom_model(class_name, factory)`.
- **Single numbers** are Python's `int` and `float`, as in coremltools; labels are `int` or `str`.

Compiled models (`utils.compile_model`) hold an ML Program as MIL text, which Core ML's own compiled models are too. The
compiled form of all other types is not known; they are compiled to a folder that only Gristmill reads.
"""


@dataclass(frozen=True)
class Fact:
    """What is written down of a type.

    Attributes:
        since: The first version of the format, as ``Model.proto`` lists them; ``None`` where it lists none.
        builder: What makes one, if anything does.
        about: A word on a network, which no class here describes.
    """

    since: int | None = 1
    builder: str = ""
    about: str = ""


RELEASES = {1: "iOS 11", 2: "iOS 11.2", 3: "iOS 12", 4: "iOS 13", 5: "iOS 14", 6: "iOS 15", 7: "iOS 16", 8: "iOS 17"}

FACTS = {
    "arrayFeatureExtractor": Fact(builder="`models.array_feature_extractor`"),
    "audioFeaturePrint": Fact(6, about="Features of sound"),
    "bayesianProbitRegressor": Fact(None),
    "classConfidenceThresholding": Fact(8),
    "customModel": Fact(3),
    "featureVectorizer": Fact(builder="`models.feature_vectorizer`"),
    "gazetteer": Fact(4, about="Labels of terms"),
    "itemSimilarityRecommender": Fact(4),
    "kNearestNeighborsClassifier": Fact(4, "`models.nearest_neighbors`"),
    "linkedModel": Fact(4),
    "mlProgram": Fact(6, "`convert`, the MIL `Builder`", "Programs of typed tensors"),
    "neuralNetwork": Fact(builder="`convert`, `models.neural_network`", about="Networks of layers"),
    "neuralNetworkClassifier": Fact(
        builder="`convert`, `models.neural_network`", about="Networks of layers that classify"
    ),
    "neuralNetworkRegressor": Fact(builder="`models.neural_network`", about="Networks of layers that predict numbers"),
    "nonMaximumSuppression": Fact(3),
    "pipeline": Fact(builder="`models.pipeline`, `utils.make_pipeline`"),
    "pipelineClassifier": Fact(builder="`models.pipeline`"),
    "pipelineRegressor": Fact(builder="`models.pipeline`"),
    "serializedModel": Fact(None, about="Another message"),
    "soundAnalysisPreprocessing": Fact(4, about="Features of sound for classifiers"),
    "textClassifier": Fact(3, about="Labels of texts"),
    "treeEnsembleClassifier": Fact(builder="`models.tree_ensemble`"),
    "treeEnsembleRegressor": Fact(builder="`models.tree_ensemble`"),
    "visionFeaturePrint": Fact(3, about="Features of images"),
    "wordEmbedding": Fact(4, about="Vectors of words"),
    "wordTagger": Fact(3, about="Labels of words"),
}


def page() -> str:
    """The whole page."""
    lines = [HEAD, "| type | what it is | since | reads | writes | runs | updates |", "|---|---|---|---|---|---|---|"]
    kinds = [field.name for field in proto.message("Model").DESCRIPTOR.oneofs_by_name["Type"].fields]
    lines += [_row(kind) for kind in sorted(kinds, key=str.lower)]
    impossible = sorted(CLOSED.items())
    lines += ["", "## What cannot run, and why", "", *(f"- `{kind}`: {reason}." for kind, reason in impossible)]
    return "\n".join([*lines, "", NOTES.rstrip()]) + "\n"


def _row(kind: str) -> str:
    fact = FACTS.get(kind, Fact())
    release = f"{fact.since} ({RELEASES[fact.since]})" if fact.since else "not stated"
    cells = (f"`{kind}`", _about(kind, fact), release, "yes", fact.builder or "by fields", _runs(kind), _updates(kind))
    return f"| {' | '.join(cells)} |"


def _about(kind: str, fact: Fact) -> str:
    if fact.about:
        return fact.about
    cls = ALONE.get(kind) or MADE_OF_MODELS[kind]
    text = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
    return text.replace("``", "`").replace("|", "\\|").rstrip(".")


def _runs(kind: str) -> str:
    if kind in CLOSED:
        return "cannot"
    if kind in ALONE or kind in MADE_OF_MODELS or kind == "mlProgram":
        return "yes"
    return "yes" if network_runs(kind) else "not yet"


def network_runs(kind: str) -> bool:
    """Whether an identity layer gives its input."""
    spec = proto.message("Model")(specificationVersion=4)
    network = getattr(spec, kind)
    network.arrayInputShapeMapping = 1
    layer = network.layers.add(name="layer", input=["x"], output=["y"])
    layer.activation.linear.alpha = 1
    for features, name in ((spec.description.input, "x"), (spec.description.output, "y")):
        array = features.add(name=name).type.multiArrayType
        array.dataType = 65568
        array.shape.extend([1, 1, 1])
    if kind == "neuralNetworkRegressor":
        spec.description.predictedFeatureName = "y"
    if kind == "neuralNetworkClassifier":
        network.stringClassLabels.vector.append("a")
        del spec.description.output[:]
        spec.description.output.add(name="label").type.stringType.SetInParent()
        spec.description.predictedFeatureName = "label"
    try:
        ct.models.MLModel(spec).predict({"x": [[[1.0]]]})
    except UnsupportedError:
        return False
    return True


def _updates(kind: str) -> str:
    if kind == "kNearestNeighborsClassifier":
        return "`models.nearest_neighbors.update`"
    if kind.startswith("pipeline"):
        return "the same, where the last model is a classifier by neighbours"
    return "not yet" if kind.startswith("neuralNetwork") else "—"
