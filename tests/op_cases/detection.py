"""Cases of ``gristmill.ops.detection``."""

from __future__ import annotations

import numpy as np

from gristmill.ir.opset import Opset
from tests.op_cases.case import Case

# Four unit-high boxes on a line, as (x, y, width, height). The second overlaps the first by 1/3 of their union, the
# third touches the second, the fourth is the third again.
BOXES = np.array([[0.0, 0, 2, 1], [1, 0, 2, 1], [3, 0, 2, 1], [3, 0, 2, 1]])
SCORES = np.array([[0.75, 0.25], [0.5, 0.875], [0.625, 0.125], [0.25, 0.625]])


def _old(scores, selected, *, id, iou=0.25, score=0.0, most=3, per_class=False, boxes=BOXES):
    """Results written as the indices that should be selected, in order."""

    def padded(rows):
        return np.concatenate([rows[selected], np.zeros((most - len(selected), rows.shape[1]))])[None]

    indices = [[*selected, *[-1] * (most - len(selected))]]
    return Case(
        "non_maximum_suppression",
        {
            "boxes": boxes[None],
            "scores": scores[None],
            "iou_threshold": iou,
            "score_threshold": score,
            "max_boxes": most,
            "per_class_suppression": per_class,
        },
        lambda boxes, scores: (padded(boxes[0]), padded(scores[0]), indices, [len(selected)]),
        id=id,
        opsets=(Opset.iOS15, Opset.iOS16),
    )


CASES = [
    _old(SCORES, [1, 2], id="best-class"),
    _old(SCORES, [1, 0, 2], id="per-class", per_class=True),
    _old(SCORES, [1, 0, 2], id="looser", iou=0.5),
    _old(SCORES, [1], id="score-threshold", score=0.875),
    _old(SCORES, [1], id="none-survives-best-stays", score=2.0),
    _old(SCORES, [1], id="most", most=1),
    _old(SCORES[:, :1], [0, 2], id="one-class"),
    # 1/4 of the union exactly: an overlap that equals the threshold does not suppress; equal scores keep their order.
    _old(
        np.full((2, 1), 0.5),
        [0, 1],
        id="equal-to-threshold",
        boxes=np.array([[0.0, 0, 5, 1], [3, 0, 5, 1]]),
        most=2,
    ),
    _old(np.array([[np.nan], [0.5], [0.25]]), [1, 2], id="nan-score", boxes=BOXES[[0, 1, 2]]),
    _old(np.array([[0.5], [0.25]]), [0, 1], id="no-area", boxes=np.array([[1.0, 1, 0, 0], [1, 1, 0, 0]])),
    Case(
        "non_maximum_suppression",
        {"boxes": BOXES.T[None], "scores": SCORES.T[None], "iou_threshold": 0.25, "max_boxes": 3},
        lambda boxes, scores: (
            np.concatenate([boxes[0][:, [1, 2]], np.zeros((4, 1))], 1)[None],
            np.concatenate([scores[0][:, [1, 2]], np.zeros((2, 1))], 1)[None],
            [[1, 2, -1]],
        ),
        id="boxes-last",
        opsets=(Opset.iOS17, Opset.iOS18),
    ),
]
