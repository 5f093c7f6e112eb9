"""Selecting detected objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gristmill.ir import dims
from gristmill.ir.constants import Array
from gristmill.ir.op import Op
from gristmill.ir.opset import iOS17
from gristmill.ir.signature import Const, Operand, TypeVar
from gristmill.ir.types import TensorType, Type, fp16, fp32, int32
from gristmill.ops.sizes import agree, sized


class non_maximum_suppression(Op):
    """Boxes in descending order of score, without those that overlap a better one too much.

    A box is (centre x, centre y, width, height); its score is the largest of its K class scores, its class the first
    that has it. A box is suppressed by a selected one where their intersection over union exceeds ``iou_threshold``;
    with ``per_class_suppression`` only by one of its own class. At most ``max_boxes`` are selected.

    Until iOS16 ``boxes`` is [n, B, 4] and ``scores`` [n, B, K]; boxes whose score is below ``score_threshold`` are left
    out, and the results are boxes [n, M, 4], scores [n, M, K], indices [n, M] and the number selected [n]. Since iOS17
    the boxes come last: [n, 4, B] and [n, K, B] give [n, 4, M], [n, K, M] and [n, M], and there is no score threshold.

    The intersection over union is rounded to the boxes' type, as the threshold is, before the two are compared: an
    overlap that equals the threshold does not suppress.

    Of equal scores the lower index comes first; a NaN comes after all others. Boxes without area overlap nothing. Where
    the threshold leaves none, the best box is selected all the same. Unused places hold zeros, and -1 among the
    indices.
    """

    T = TypeVar(fp16, fp32)

    boxes = Operand(T, rank=3)
    scores = Operand(T, rank=3)
    iou_threshold = Const(float, T)
    score_threshold = Const(float, T, until=iOS17)
    max_boxes = Const(int)
    per_class_suppression = Const(bool, default=False)

    @property
    def _boxes_last(self) -> bool:
        return self.opset >= iOS17

    def infer(self) -> Sequence[Type]:
        box, score = self.boxes.tensor, self.scores.tensor
        place, depth = (2, 1) if self._boxes_last else (1, 2)
        fits = (
            agree(box.shape[0], score.shape[0]) is not None and agree(box.shape[place], score.shape[place]) is not None
        )
        if not fits or dims.never_equal(box.shape[depth], 4):
            raise self.misfit(
                "there are four coordinates and some scores for each box",
                expected="[n, 4, B] and [n, K, B]" if self._boxes_last else "[n, B, 4] and [n, B, K]",
                actual=f"{list(box.shape)} and {list(score.shape)}",
            )
        if self.max_boxes < 1:
            raise self.misfit("'max_boxes' is positive", actual=self.max_boxes)
        n, most = box.shape[0], self.max_boxes

        def selected(of: TensorType) -> TensorType:
            kept = of.shape[depth]
            return of.with_shape(sized((n, kept, most) if self._boxes_last else (n, most, kept)))

        results: list[Type] = [selected(box), selected(score), TensorType(int32, (n, most))]
        return results if self._boxes_last else [*results, TensorType(int32, (n,))]

    def reference(self, boxes: Array, scores: Array, max_boxes: int) -> list[Array]:
        if self._boxes_last:
            boxes, scores = boxes.swapaxes(1, 2), scores.swapaxes(1, 2)
        batch = len(boxes)
        out_boxes = np.zeros((batch, max_boxes, 4))
        out_scores = np.zeros((batch, max_boxes, scores.shape[2]))
        indices = np.full((batch, max_boxes), -1, np.int32)
        counts = np.zeros(batch, np.int32)
        for b in range(batch):
            chosen = select_boxes(
                boxes[b],
                scores[b],
                iou=self.iou_threshold,
                least=-np.inf if self._boxes_last else self.score_threshold,
                most=max_boxes,
                by_class=self.per_class_suppression,
                dtype=self.boxes.dtype.numpy,
            )
            counts[b] = count = len(chosen)
            out_boxes[b, :count], out_scores[b, :count], indices[b, :count] = (
                boxes[b, chosen],
                scores[b, chosen],
                chosen,
            )
        if self._boxes_last:
            return [out_boxes.swapaxes(1, 2), out_scores.swapaxes(1, 2), indices]
        return [out_boxes, out_scores, indices, counts]


def select_boxes(
    boxes: Array, scores: Array, *, iou: float, least: float, most: int, by_class: bool, dtype: np.dtype[Any]
) -> list[int]:
    """Indices of the selected ones among [B, 4] boxes with [B, K] scores, best first; see the op.

    Args:
        boxes: Centre x, centre y, width, height.
        scores: Of each class.
        iou: Overlap above which a box is suppressed.
        least: Score below which it is.
        most: How many to select.
        by_class: Boxes are suppressed by those of their own class only.
        dtype: The boxes' declared type, to which overlaps are rounded.
    """
    ranked = np.where(np.isnan(scores), -np.inf, scores)
    best = ranked.max(1, initial=-np.inf)
    classes = ranked.argmax(1) if by_class else np.zeros(len(boxes), int)
    order = np.argsort(-best, kind="stable")
    alive = best >= least
    chosen: list[int] = []
    for index in order:
        if len(chosen) == most:
            break
        if alive[index]:
            chosen.append(int(index))
            overlap = _overlap(boxes[index], boxes).astype(dtype)
            alive &= ~((overlap > iou) & (classes == classes[index]))
    return chosen or [int(index) for index in order[:1]]


def _overlap(box: Array, boxes: Array) -> Array:
    """Intersection over union of one box with each of several; 0 where neither has an area."""
    low = np.maximum(box[:2] - box[2:] / 2, boxes[:, :2] - boxes[:, 2:] / 2)
    high = np.minimum(box[:2] + box[2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2)
    shared = np.maximum(high - low, 0).prod(1)
    union = box[2:].prod() + boxes[:, 2:].prod(1) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


OPS = (non_maximum_suppression,)
