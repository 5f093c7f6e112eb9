"""What follows detectors and classifiers: suppressing boxes, thresholds of classes."""

from __future__ import annotations

import numpy as np

from gristmill.errors import InputError
from gristmill.ir.constants import Array
from gristmill.models.classic.base import LARGEST, ClassicModel
from gristmill.models.classic.columns import Columns, objects
from gristmill.models.classic.transforms import Transformer
from gristmill.package.proto import Message


class NonMaximumSuppression(ClassicModel):
    """The most confident of boxes that overlap.

    A box's confidence is that of its likeliest class. Boxes below the confidence threshold go first; then the most
    confident box stays and those that overlap it by more than the threshold go, and so on. With ``perClass`` only boxes
    of the same class do. Where the description fixes or bounds the number of boxes, zeros fill up and the rest is cut.
    """

    def __init__(self, model: Message) -> None:
        super().__init__(model)
        self.parameters = p = model.nonMaximumSuppression
        self.slots = {slot.name: slot for slot in self.outputs}
        for name in (p.confidenceInputFeatureName, p.coordinatesInputFeatureName):
            if name not in {slot.name for slot in self.inputs}:
                raise self.malformed("there is no such input", actual=name)
            self.expect(name, "multiArrayType")
        for name in (p.iouThresholdInputFeatureName, p.confidenceThresholdInputFeatureName):
            self.expect(name, "doubleType")
        self.least, self.most = 0, LARGEST
        for slot in self.outputs:
            shape, ranges = getattr(slot.feature, "shape", ()), getattr(slot.feature, "ranges", None)
            low, high = ranges[0] if ranges else (shape[0], shape[0]) if shape else (0, -1)
            self.least = max(self.least, low)
            self.most = min(self.most, high if high >= 0 else LARGEST)
        if self.least > LARGEST:
            raise self.malformed("too many boxes", actual=self.least)

    def compute(self, columns: Columns) -> Columns:
        p = self.parameters
        confidences = self.column(columns, p.confidenceInputFeatureName)
        coordinates = self.column(columns, p.coordinatesInputFeatureName)
        overlap = columns.get(p.iouThresholdInputFeatureName, np.full(len(confidences), p.iouThreshold))
        lowest = columns.get(p.confidenceThresholdInputFeatureName, np.full(len(confidences), p.confidenceThreshold))
        found = [self._suppress(*row) for row in zip(confidences, coordinates, overlap, lowest, strict=True)]
        return {
            p.confidenceOutputFeatureName: objects([kept for kept, _ in found]),
            p.coordinatesOutputFeatureName: objects([kept for _, kept in found]),
        }

    def _suppress(self, confidence: Array, boxes: Array, overlap: float, lowest: float) -> tuple[Array, Array]:
        if confidence.ndim < 2 or boxes.ndim < 2 or boxes.shape[-1] != 4 or confidence.shape[-1] < 1:
            raise InputError(
                "boxes are arrays of confidences and of coordinates",
                expected="[boxes, classes] and [boxes, 4]",
                actual=f"{list(confidence.shape)} and {list(boxes.shape)}",
            )
        confidence, boxes = confidence.reshape(-1, confidence.shape[-1]), boxes.reshape(-1, 4)
        if len(confidence) != len(boxes):
            raise InputError(
                "confidences and coordinates of as many boxes", expected=len(boxes), actual=len(confidence)
            )
        kept = self._kept(confidence, boxes, overlap, lowest)[: self.most]
        padding = ((0, max(0, self.least - len(kept))), (0, 0))
        return np.pad(confidence[kept], padding), np.pad(boxes[kept], padding)

    def _kept(self, confidence: Array, boxes: Array, overlap: float, lowest: float) -> list[int]:
        score, label = confidence.max(axis=1), confidence.argmax(axis=1)
        order = np.argsort(-score, kind="stable")
        order = order[score[order] >= lowest]
        kept = []
        while order.size:
            best, order = order[0], order[1:]
            kept.append(int(best))
            near = intersection_over_union(boxes[best], boxes[order]) > overlap
            if self.parameters.pickTop.perClass:
                near &= label[order] == label[best]
            order = order[~near]
        return kept


def intersection_over_union(box: Array, others: Array) -> Array:
    """How much boxes overlap another, from 0 to 1; all are centre x, centre y, width, height."""
    box, others = box.astype(np.float64), others.astype(np.float64)
    low = np.maximum(box[:2] - box[2:] / 2, others[:, :2] - others[:, 2:] / 2)
    high = np.minimum(box[:2] + box[2:] / 2, others[:, :2] + others[:, 2:] / 2)
    shared = np.maximum(high - low, 0).prod(axis=1)
    union = box[2:].prod() + others[:, 2:].prod(axis=1) - shared
    result: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return result


class ClassConfidenceThresholding(Transformer):
    """Confidences and, below them, whether a class is there. The format says that for now every class is."""

    def transform(self, column: Array) -> Array:
        confidences = self.numbers(column)
        curves = len(self.parameters.precisionRecallCurves)
        if curves not in (0, confidences.shape[1]):
            raise InputError("another number of classes than of curves", expected=curves, actual=confidences.shape[1])
        return np.stack([confidences, np.ones_like(confidences)], axis=1)
