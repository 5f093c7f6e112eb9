"""Non-maximum suppression whose limits may be computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gristmill.ir import dims
from gristmill.ir.constants import Array
from gristmill.ir.op import Op
from gristmill.ir.signature import Const, Operand, TypeVar
from gristmill.ir.types import TensorType, Type, fp16, fp32, int32
from gristmill.ops.detection import select_boxes
from gristmill.ops.sizes import agree, claim, sized


class nn_non_maximum_suppression(Op):
    """``non_maximum_suppression`` of iOS15, with thresholds and the number of boxes as operands.

    Boxes [n, B, 4] and scores [n, B, K] give boxes [n, M, 4], scores [n, M, K], indices [n, M] and how many there are
    [n], M being ``max_boxes``. Unused places hold zeros, and -1 among the indices.
    """

    T = TypeVar(fp16, fp32)

    boxes = Operand(T, rank=3)
    scores = Operand(T, rank=3)
    iou_threshold = Operand(T, rank=0)
    score_threshold = Operand(T, rank=0)
    max_boxes = Operand(int32, rank=0)
    per_class_suppression = Const(bool, default=False)
    dialect = "nn"

    def infer(self) -> Sequence[Type]:
        box, score = self.boxes.tensor, self.scores.tensor
        batch, count = agree(box.shape[0], score.shape[0]), agree(box.shape[1], score.shape[1])
        if batch is None or count is None or dims.never_equal(box.shape[2], 4):
            raise self.misfit(
                "there are four coordinates and some scores for each box",
                expected="[n, B, 4] and [n, B, K]",
                actual=f"{list(box.shape)} and {list(score.shape)}",
            )
        contents = self.max_boxes.contents
        most = dims.unknown() if contents is None else contents.item()
        return [
            box.with_shape(sized((batch, most, 4))),
            score.with_shape(sized((batch, most, score.shape[2]))),
            TensorType(int32, (batch, most)),
            TensorType(int32, (batch,)),
        ]

    def reference(
        self, boxes: Array, scores: Array, iou_threshold: Array, score_threshold: Array, max_boxes: Array
    ) -> list[Array]:
        batch, most = len(boxes), int(max_boxes)
        out_boxes = np.zeros(claim((batch, most, 4), 8))
        out_scores = np.zeros(claim((batch, most, scores.shape[2]), 8))
        indices, counts = np.full((batch, most), -1, np.int32), np.zeros(batch, np.int32)
        for b in range(batch):
            chosen = select_boxes(
                boxes[b],
                scores[b],
                iou=float(iou_threshold),
                least=float(score_threshold),
                most=most,
                by_class=self.per_class_suppression,
                dtype=self.boxes.dtype.numpy,
            )[:most]
            counts[b] = count = len(chosen)
            out_boxes[b, :count], out_scores[b, :count] = boxes[b, chosen], scores[b, chosen]
            indices[b, :count] = chosen
        return [out_boxes, out_scores, indices, counts]


OPS = (nn_non_maximum_suppression,)
