"""The models that a conversion consists of, as they come, and the columns between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from gristmill.errors import InputTypeError
from gristmill.frontends import classic
from gristmill.frontends.classic import Description, Feature, Kind, Stage

Table: TypeAlias = tuple[Feature, ...]
"""What scikit-learn has as a matrix: features one after the other, of a column or several each."""


def width(table: Table) -> int:
    """How many columns a table has."""
    return sum(feature.size for feature in table)


class Flow:
    """Collects the models of a conversion.

    Args:
        inputs: What the whole takes.

    Attributes:
        inputs: The same; some may have become optional.
        stages: The models so far.
    """

    def __init__(self, inputs: Sequence[Feature]) -> None:
        self.inputs = list(inputs)
        self.stages: list[Stage] = []
        self._names = {feature.name for feature in inputs}

    def add(
        self, description: Description, inputs: Sequence[Feature], kind: Kind = Kind.ARRAY, size: int = 1
    ) -> Feature:
        """Adds a model with one output, which gets a name of its own."""
        stem = type(description).__name__
        number = 1
        while (name := f"{stem}{number}") in self._names:
            number += 1
        self._names.add(name)
        output = Feature(name, kind, size)
        self.stages.append(Stage(description, tuple(inputs), (output,)))
        return output

    def array(self, table: Table) -> Feature:
        """A table as one array.

        Raises:
            InputTypeError: It holds texts.
        """
        if len(table) == 1 and table[0].kind is Kind.ARRAY:
            return table[0]
        for feature in table:
            if feature.kind in (Kind.STRING, Kind.STRING_KEYS):
                raise InputTypeError(
                    f"the column '{feature.name}' holds texts where numbers are needed",
                    expected="numbers",
                    actual=feature.kind.value,
                )
        sizes = {feature.name: feature.size for feature in table}
        return self.add(classic.FeatureVectorizer(sizes), table, Kind.ARRAY, width(table))

    def take(self, table: Table, places: Sequence[int]) -> Table:
        """Some columns of a table, in the order of ``places``; neighbours stay together."""
        if list(places) == list(range(width(table))):
            return table
        homes = [(feature, at) for feature in table for at in range(feature.size)]
        groups: list[tuple[Feature, list[int]]] = []
        for place in places:
            feature, at = homes[place]
            if groups and groups[-1][0] == feature and feature.size > 1:
                groups[-1][1].append(at)
            else:
                groups.append((feature, [at]))
        return tuple(self._part(feature, within) for feature, within in groups)

    def _part(self, feature: Feature, places: list[int]) -> Feature:
        if places == list(range(feature.size)):
            return feature
        array = self.array((feature,))
        return self.add(classic.ArrayFeatureExtractor(places), [array], Kind.ARRAY, len(places))

    def integer(self, feature: Feature) -> Feature:
        """A column of numbers as integers."""
        if feature.kind is Kind.INT64:
            return feature
        return self.add(classic.ArrayFeatureExtractor([0]), [self.array((feature,))], Kind.INT64)

    def optional(self, feature: Feature) -> Feature:
        """The same feature, which may be left out if it is an input."""
        if feature not in self.inputs:
            return feature
        made = replace(feature, optional=True)
        self.inputs[self.inputs.index(feature)] = made
        return made

    def finish(self, table: Table) -> Feature:
        """A table as what the last model gives."""
        result = self.array(table)
        if self.stages and self.stages[-1].outputs == (result,):
            return result
        return self.add(classic.FeatureVectorizer({result.name: result.size}), [result], Kind.ARRAY, result.size)
