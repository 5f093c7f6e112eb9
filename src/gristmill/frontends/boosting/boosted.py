"""What the libraries of boosted trees have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from gristmill.errors import FormatError, InputError, UnsupportedError
from gristmill.frontends.classic import Label, Leaf, Node, TreeEnsemble, TreeTransform
from gristmill.ir.constants import Array


class Link(Enum):
    """What a library makes of the trees' sums when it predicts; values are words for messages."""

    IDENTITY = "the sum itself"
    LOGISTIC = "the logistic function"
    SOFTMAX = "the softmax function"
    EXPONENTIAL = "the exponential function"
    STEP = "a step from 0 to 1"
    SOFTPLUS = "log(1 + exp(sum))"
    SQUARE = "the square with the sum's sign"
    VARIANCE = "the exponential function of the second sum alone"


_TRANSFORMS = {
    Link.IDENTITY: TreeTransform.NONE,
    Link.LOGISTIC: TreeTransform.LOGISTIC,
    Link.SOFTMAX: TreeTransform.SOFTMAX,
    Link.EXPONENTIAL: TreeTransform.EXPONENTIAL,
}

_LARGEST = 1 << 20


class Mode(Enum):
    """Which kind of Core ML model is wanted."""

    CLASSIFIER = "classifier"
    REGRESSOR = "regressor"
    RAW = "raw"


@dataclass(frozen=True)
class Boosted:
    """Boosted trees, with what their file says about predictions.

    Attributes:
        source: The library that made them, with its version where the file has it.
        objective: What they were trained for, by the library's name.
        link: What becomes of their sums.
        trees: Their roots.
        base: What the sums begin with, for each dimension.
        features: How many features they know.
        names: The features' names, where the file has them.
        prefix: What the library puts before the numbers of features without names.
        classes: How many labels they tell apart; none where they do not classify.
        labels: The labels, where the file has them.
        tie: The largest sum that a classifier of two labels counts as a tie.
    """

    source: str
    objective: str
    link: Link
    trees: Sequence[Node]
    base: Sequence[float]
    features: int
    names: Sequence[str] | None = None
    prefix: str = "f"
    classes: int | None = None
    labels: Sequence[Label] | None = None
    tie: float = 2.0**-50  # the logistic function of anything less rounds to one half in float64

    def describe(self, mode: Mode, labels: Sequence[Label] | None = None) -> TreeEnsemble:
        """The trees as a model of Core ML.

        Args:
            mode: Which kind. ``RAW`` is a regressor of the sums, whatever becomes of them in the library.
            labels: A classifier's labels, instead of the file's or 0, 1, ….

        Raises:
            InputError: The mode does not suit the objective, or the labels do not.
            UnsupportedError: Core ML's trees lack the objective's function.
        """
        if mode is Mode.RAW:
            return TreeEnsemble(self.trees, self.base)
        if self.link not in _TRANSFORMS:
            raise UnsupportedError(
                f"'{self.objective}' predicts by a function that Core ML's trees lack",
                expected=", ".join(link.value for link in _TRANSFORMS),
                actual=self.link.value,
                hint="mode='raw' converts the trees' sums, for the function to be applied to what the model gives",
            )
        transform = _TRANSFORMS[self.link]
        if mode is Mode.REGRESSOR:
            if self.classes is not None and self.classes > 2:
                raise InputError(f"'{self.objective}' is a classifier", hint="mode='classifier' converts it")
            return TreeEnsemble(self.trees, self.base, transform)
        if self.classes is None:
            raise InputError(f"'{self.objective}' is no classifier", hint="mode='regressor' converts it")
        if labels is None:
            labels = self.labels if self.labels is not None else range(self.classes)
        if len(labels) != self.classes:
            raise InputError("the model has another number of labels", expected=self.classes, actual=len(labels))
        # A tie goes to the first label in the libraries, and to the second in Core ML.
        base = [self.base[0] - self.tie] if len(self.base) == 1 else self.base
        return TreeEnsemble(self.trees, base, transform, list(labels))


def bounded(value: Any, what: str, least: int = 0) -> int:
    """A number of features or dimensions, from a file that is hostile until checked.

    Raises:
        FormatError: It is out of all bounds.
    """
    number = int(value)
    if not least <= number <= _LARGEST:
        raise FormatError(f"the number of {what} is out of range", expected=f"{least} to {_LARGEST}", actual=number)
    return number


def link_of(objective: str, known: Mapping[str, Link]) -> Link:
    """What becomes of sums that were trained for an objective.

    Raises:
        UnsupportedError: Nothing is known of it.
    """
    if objective not in known:
        raise UnsupportedError(f"unknown objective '{objective}'", expected=", ".join(known))
    return known[objective]


def leaf_of(values: Array, width: int) -> Leaf:
    """A leaf that adds to all dimensions.

    Raises:
        FormatError: It holds another number of values.
    """
    if values.shape != (width,):
        raise FormatError("a leaf has another number of values", expected=width, actual=values.size)
    return Leaf(dict(enumerate(values.tolist())))


def as_labels(values: Sequence[Any]) -> list[Label]:
    """Labels as Core ML has them: texts, or integers, of numbers too.

    Raises:
        UnsupportedError: They are other numbers.
    """
    if all(isinstance(value, str) for value in values):
        return list(values)
    if any(int(value) != value for value in values):
        raise UnsupportedError("labels are integers or texts", actual=list(values), hint="train with labels as texts")
    return [int(value) for value in values]


def grow(
    root: int, children: Callable[[int], tuple[int, int] | None], make: Callable[[int, Node | None, Node | None], Node]
) -> Node:
    """Builds a tree of numbered nodes, children before their parents.

    Args:
        root: The root's number.
        children: A node's children; nothing for a leaf.
        make: Makes a node from its number and its children.

    Raises:
        FormatError: A node has two parents, or is its own ancestor.
    """
    order: list[tuple[int, tuple[int, int] | None]] = []
    waiting, seen = [root], set()
    while waiting:
        number = waiting.pop()
        if number in seen:
            raise FormatError("a node of a tree has two parents", actual=f"node {number}")
        seen.add(number)
        below = children(number)
        order.append((number, below))
        waiting += below or ()
    nodes: dict[int, Node] = {}
    for number, below in reversed(order):
        first, second = (nodes.pop(child) for child in below) if below else (None, None)
        nodes[number] = make(number, first, second)
    return nodes[root]
