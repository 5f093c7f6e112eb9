"""Recommending items that are similar to given ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from gristmill.errors import InputError
from gristmill.models.classic.base import LARGEST, ClassicModel
from gristmill.models.classic.columns import Columns, objects
from gristmill.package.proto import Message


class ItemSimilarityRecommender(ClassicModel):
    """Scores ``Σᵢ sim(k, i)·(scoreᵢ − shiftₖ)`` of items k over the given items i; the best come first.

    Items given as a sequence score 1. Given items are left out unless there is a list of what to leave out. Items of
    equal scores come in the model's order.
    """

    def __init__(self, model: Message) -> None:
        super().__init__(model)
        self.parameters = parameters = model.itemSimilarityRecommender
        self.expect(parameters.itemInputFeatureName, "dictionaryType", "sequenceType")
        self.expect(parameters.numRecommendationsInputFeatureName, "int64Type")
        for name in (parameters.itemRestrictionInputFeatureName, parameters.itemExclusionInputFeatureName):
            self.expect(name, "sequenceType")
        similarities: dict[int, dict[int, float]] = {}
        shifts: dict[int, float] = {}
        for item in parameters.itemItemSimilarities:
            similarities[item.itemId] = {other.itemId: other.similarityScore for other in item.similarItemList}
            shifts[item.itemId] = item.itemScoreAdjustment
        highest = max((k for own in similarities.items() for k in (own[0], *own[1])), default=-1)
        if highest >= LARGEST:
            raise self.malformed("an item's number is too high", actual=highest)
        self.ids: list[Any] = list(parameters.itemStringIds.vector) or list(parameters.itemInt64Ids.vector)
        if self.ids and len(self.ids) <= highest:
            raise self.malformed("an item has no id", expected=f"more than {highest} ids", actual=len(self.ids))
        self.ids = self.ids or list(range(highest + 1))
        self.places = {name: place for place, name in enumerate(self.ids)}
        if len(self.places) != len(self.ids):
            raise self.malformed("two items have one id")
        self.similar = {
            item: (np.array(list(others), np.intp), np.array(list(others.values()), np.float64))
            for item, others in similarities.items()
        }
        self.shift = np.zeros(len(self.ids))
        self.shift[list(shifts)] = list(shifts.values())

    def compute(self, columns: Columns) -> Columns:
        p = self.parameters
        given = self.column(columns, p.itemInputFeatureName)
        limits = columns.get(p.numRecommendationsInputFeatureName)
        found = []
        for row, items in enumerate(given):
            allowed = self._allowed(columns, row, items)
            count = len(self.ids) if limits is None else int(limits[row])
            if count < 0:
                raise InputError("another number of recommendations", expected="0 or more", actual=count)
            found.append(self._recommend(items, allowed, count))
        return {
            p.recommendedItemListOutputFeatureName: objects([list(scores) for scores in found]),
            p.recommendedItemScoreOutputFeatureName: objects(found),
        }

    def _allowed(self, columns: Columns, row: int, given: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which items may be recommended."""
        restriction = columns.get(self.parameters.itemRestrictionInputFeatureName)
        exclusion = columns.get(self.parameters.itemExclusionInputFeatureName)
        allowed = np.full(len(self.ids), restriction is None)
        if restriction is not None:
            allowed[self._known(restriction[row])] = True
        allowed[self._known(given if exclusion is None else exclusion[row])] = False
        return allowed

    def _known(self, items: Any) -> list[int]:
        """The numbers of those items that the model knows."""
        return [self.places[item] for item in items if item in self.places]

    def _recommend(self, items: Any, allowed: Any, count: int) -> dict[Any, float]:
        scores = np.zeros(len(self.ids))
        for item in items:
            others = self.similar.get(self.places.get(item, -1))
            if others is not None:
                score = items[item] if isinstance(items, dict) else 1.0
                scores[others[0]] += others[1] * (score - self.shift[others[0]])
        candidates = np.flatnonzero(allowed)
        best = candidates[np.argsort(-scores[candidates], kind="stable")[:count]]
        return {self.ids[k]: float(scores[k]) for k in best}
