"""Classic models as plain data: what frontends make of other libraries' models, and ``models.classic_writer`` writes.

A description holds parameters in the meaning that Core ML's format gives them, and neither names nor types of features.
With ``labels`` it is a classifier, without a regressor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

import numpy as np

from gristmill.ir.constants import Array

Label: TypeAlias = int | str


# --- trees ---------------------------------------------------------------------------------------------------------


class Comparison(Enum):
    """How a branch compares a feature with its threshold; values are the format's names."""

    LESS_EQUAL = "BranchOnValueLessThanEqual"
    LESS = "BranchOnValueLessThan"
    GREATER_EQUAL = "BranchOnValueGreaterThanEqual"
    GREATER = "BranchOnValueGreaterThan"
    EQUAL = "BranchOnValueEqual"
    NOT_EQUAL = "BranchOnValueNotEqual"


@dataclass(slots=True, eq=False)
class Leaf:
    """Where a tree ends.

    Attributes:
        values: What it adds, for each dimension of the prediction that it adds to.
        count: The nodes of the tree below and with it: one.
    """

    values: dict[int, float]
    count: int = field(default=1, init=False)


@dataclass(slots=True, eq=False)
class Branch:
    """A node that compares a feature.

    Attributes:
        feature: Which, counted through all inputs.
        threshold: What it is compared with, in float64.
        holds: The node that follows where the comparison holds.
        fails: The node that follows where it does not. Both may be part of other branches too: they are copied.
        missing_holds: Whether a missing value goes where the comparison holds.
        comparison: The comparison.
        count: The nodes of the tree below and with it, copies included.
    """

    feature: int
    threshold: float
    holds: Node
    fails: Node
    missing_holds: bool = False
    comparison: Comparison = Comparison.LESS_EQUAL
    count: int = field(init=False)

    def __post_init__(self) -> None:
        self.count = 1 + self.holds.count + self.fails.count


Node: TypeAlias = Branch | Leaf


def member_of(feature: int, members: Sequence[float], holds: Node, fails: Node, missing_holds: bool = False) -> Node:
    """A node that asks whether a feature is one of a set's members, of comparisons with each.

    ``holds`` is copied for each member: ask for the smaller set.

    Args:
        feature: Which.
        members: The set.
        holds: The node that follows where the feature is a member.
        fails: The node that follows elsewhere.
        missing_holds: Whether a missing value counts as a member.
    """
    node = fails
    for member in members:
        node = Branch(feature, float(member), holds, node, missing_holds, Comparison.EQUAL)
    return node


class TreeTransform(Enum):
    """What becomes of the trees' sums; values are the format's names, which has none for the exponential function."""

    NONE = "NoTransform"
    SOFTMAX = "Classification_SoftMax"
    LOGISTIC = "Regression_Logistic"
    EXPONENTIAL = "exponential"


@dataclass(frozen=True)
class TreeEnsemble:
    """A sum of trees.

    Attributes:
        trees: Their roots.
        base: What the leaves' values are added to, for each dimension: one for each label, or for two labels also one,
            the second's.
        transform: What becomes of the sums.
        labels: A classifier's.
    """

    trees: Sequence[Node]
    base: Sequence[float]
    transform: TreeTransform = TreeTransform.NONE
    labels: Sequence[Label] | None = None


def float32_at_most(threshold: Array | float) -> Array:
    """The largest float64 numbers that, rounded to float32, are at most ``threshold``.

    Libraries round features to float32 before they compare: ``float32(x) <= threshold``. For every float64 ``x`` that
    is the same as ``x <= float32_at_most(threshold)``.

    Args:
        threshold: Float64 numbers; infinities stay.
    """
    wide = np.asarray(threshold, np.float64)
    with np.errstate(over="ignore"):
        below = wide.astype(np.float32)
        below = np.where(below > wide, np.nextafter(below, np.float32(-np.inf)), below)
        above = np.nextafter(below, np.float32(np.inf)).astype(np.float64)
    largest = np.finfo(np.float32).max
    above = np.where(below == largest, 2.0**128, above)  # where rounding to infinity begins
    middle = np.where(np.isinf(below), below, (below.astype(np.float64) + above) / 2)
    even = below.view(np.uint32) % 2 == 0  # what lies in the middle is rounded to the even neighbour
    return np.where(even | np.isinf(below), middle, np.nextafter(middle, -np.inf))


def float32_below(threshold: Array | float) -> Array:
    """The largest float64 numbers that, rounded to float32, are less than ``threshold``.

    ``float32(x) < threshold`` is the same as ``x <= float32_below(threshold)``.
    """
    wide = np.asarray(threshold, np.float64)
    return float32_at_most(np.nextafter(wide, -np.inf))


# --- linear models, support vectors, neighbours ----------------------------------------------------------------------


@dataclass(frozen=True)
class LinearModel:
    """``weights · x + offset``.

    Attributes:
        weights: ``[functions, features]``.
        offset: ``[functions]``.
        labels: A classifier's: probabilities are logistic functions.
        one_vs_rest: Each label has a function of its own, and probabilities are divided by their sum. Otherwise one
            function fewer than labels: the first label is the reference, whose score is zero, for softmax.
    """

    weights: Array
    offset: Array
    labels: Sequence[Label] | None = None
    one_vs_rest: bool = False


@dataclass(frozen=True)
class Kernel:
    """A kernel function of support vector machines.

    Attributes:
        kind: ``linear``, ``rbf``, ``poly`` or ``sigmoid``.
        gamma: The factor of products, or of squared distances.
        c: What is added to products.
        degree: Of polynomials.
    """

    kind: str
    gamma: float = 0.0
    c: float = 0.0
    degree: int = 0


@dataclass(frozen=True)
class SupportVectorMachine:
    """A support vector machine as LIBSVM has it: ``Σ coefficient · K(x, vector) − rho``.

    Attributes:
        kernel: The kernel function.
        vectors: ``[vectors, features]``; a classifier's label by label.
        coefficients: ``[1, vectors]``, a classifier's ``[labels − 1, vectors]``.
        rho: One number, a classifier's for each pair of labels in the order 0-1, 0-2, …, 1-2, ….
        labels: A classifier's.
        counts: How many vectors each label has.
        prob_a: For each pair the factor of its sigmoid, if the machine knows probabilities.
        prob_b: The same, what it adds.
    """

    kernel: Kernel
    vectors: Array
    coefficients: Array
    rho: Array
    labels: Sequence[Label] | None = None
    counts: Sequence[int] = ()
    prob_a: Sequence[float] = ()
    prob_b: Sequence[float] = ()


@dataclass(frozen=True)
class NearestNeighbors:
    """A vote of the nearest samples, in Euclidean distance.

    Attributes:
        samples: ``[samples, features]``; stored as float32.
        labels: The label of each sample.
        neighbors: How many vote.
        default: What would be predicted without samples.
        leaf_size: Of a k-d tree's leaves; without, samples are searched one by one.
    """

    samples: Array
    labels: Sequence[Label]
    neighbors: int
    default: Label
    leaf_size: int | None = None


# --- transformers --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scaler:
    """``scale · (x + shift)``, one of each for each feature."""

    shift: Array
    scale: Array


@dataclass(frozen=True)
class Normalizer:
    """Each row divided by a norm: ``LMax`` (its largest element), ``L1`` or ``L2``."""

    norm: str


@dataclass(frozen=True)
class Imputer:
    """A value in place of missing ones.

    Attributes:
        value: One number for each feature, or a text.
        replaced: What counts as missing.
    """

    value: Array | str
    replaced: float | str = np.nan


@dataclass(frozen=True)
class DictVectorizer:
    """The numbers of a dictionary, each in its key's place."""

    keys: Sequence[Label]


@dataclass(frozen=True)
class OneHotEncoder:
    """The place of a category, as a dictionary that holds a one there.

    Attributes:
        categories: In the order of their places.
        ignores_unknown: Whether other categories give zeros; else they are an error.
    """

    categories: Sequence[Label]
    ignores_unknown: bool = False


@dataclass(frozen=True)
class CategoricalMapping:
    """Texts to integers.

    Attributes:
        numbers: The integer of each text.
        unknown: The integer of all others.
    """

    numbers: Mapping[str, int]
    unknown: int


@dataclass(frozen=True)
class FeatureVectorizer:
    """All inputs one after the other in one array.

    Attributes:
        sizes: How many numbers each gives, by name.
    """

    sizes: Mapping[str, int]


@dataclass(frozen=True)
class ArrayFeatureExtractor:
    """Elements of an array."""

    places: Sequence[int]


Predictor: TypeAlias = TreeEnsemble | LinearModel | SupportVectorMachine | NearestNeighbors
Transformer: TypeAlias = (
    Scaler
    | Normalizer
    | Imputer
    | DictVectorizer
    | OneHotEncoder
    | CategoricalMapping
    | FeatureVectorizer
    | ArrayFeatureExtractor
)
Description: TypeAlias = Predictor | Transformer


# --- several models one after the other ------------------------------------------------------------------------------


class Kind(Enum):
    """Types of features."""

    DOUBLE = "double"
    INT64 = "int64"
    STRING = "string"
    ARRAY = "array"
    INT64_KEYS = "dictionary of integers"
    STRING_KEYS = "dictionary of texts"


@dataclass(frozen=True)
class Feature:
    """One input or output of a model.

    Attributes:
        name: Its name.
        kind: Its type.
        size: How many numbers it holds: an array's length, a dictionary's number of places.
        optional: Whether it may be left out.
    """

    name: str
    kind: Kind = Kind.DOUBLE
    size: int = 1
    optional: bool = False


@dataclass(frozen=True)
class Stage:
    """A model in a sequence; it sees the sequence's inputs, and the outputs of the stages before it.

    Attributes:
        description: The model.
        inputs: What it takes.
        outputs: What a transformer gives; a predictor is the last stage and gives what the sequence gives.
    """

    description: Description
    inputs: Sequence[Feature]
    outputs: Sequence[Feature] = ()
