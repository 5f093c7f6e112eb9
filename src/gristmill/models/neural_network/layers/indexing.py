"""Elements by index."""

from __future__ import annotations

from collections.abc import Sequence

from gristmill.models.neural_network.layers.core import IOS_14, LayerBuilder, Names
from gristmill.package.proto import Message


class IndexingLayers(LayerBuilder):
    """Layers that find elements by their places.

    Modes of scattering are ``UPDATE``, ``ADD``, ``SUB``, ``MUL``, ``DIV``, ``MAX`` and ``MIN``.
    """

    def add_gather(self, name: str, input_names: Sequence[str], output_name: str, axis: int = 0) -> Message:
        """Slices of the first input along an axis, by the indices of the second."""
        return self._add("gather", name, input_names, output_name, axis=axis)

    def add_gather_along_axis(self, name: str, input_names: Sequence[str], output_name: str, axis: int = 0) -> Message:
        """Elements of the first input along an axis, each by the index at its own place in the second."""
        return self._add("gatherAlongAxis", name, input_names, output_name, axis=axis)

    def add_gather_nd(self, name: str, input_names: Sequence[str], output_name: str) -> Message:
        """Slices of the first input, by the tuples of indices along the second's last axis."""
        return self._add("gatherND", name, input_names, output_name)

    def add_scatter(
        self, name: str, input_names: Sequence[str], output_name: str, axis: int = 0, mode: str = "UPDATE"
    ) -> Message:
        """The first input with slices along an axis changed: at the second's indices, by the third."""
        return self._add("scatter", name, input_names, output_name, axis=axis, mode=f"SCATTER_{mode}")

    def add_scatter_along_axis(
        self, name: str, input_names: Sequence[str], output_name: str, axis: int = 0, mode: str = "UPDATE"
    ) -> Message:
        """The first input with elements along an axis changed: at the second's indices, by the third."""
        return self._add("scatterAlongAxis", name, input_names, output_name, axis=axis, mode=f"SCATTER_{mode}")

    def add_scatter_nd(self, name: str, input_names: Sequence[str], output_name: str, mode: str = "UPDATE") -> Message:
        """The first input with slices changed: at the second's tuples of indices, by the third."""
        return self._add("scatterND", name, input_names, output_name, mode=f"SCATTER_{mode}")

    def add_one_hot(
        self,
        name: str,
        input_names: Names,
        output_name: str,
        one_hot_vector_size: int | None = None,
        axis: int = -1,
        on_value: float = 1.0,
        off_value: float = 0.0,
    ) -> Message:
        """Vectors along a new axis with ``on_value`` at each index; a second input may state their size."""
        self._needs(IOS_14)
        fields = {"oneHotVectorSize": one_hot_vector_size, "axis": axis, "onValue": on_value, "offValue": off_value}
        return self._add("oneHot", name, input_names, output_name, **fields)

    def add_where_nonzero(self, name: str, input_name: str, output_name: str) -> Message:
        """Indices of the elements that are not 0, one row each."""
        return self._add("whereNonZero", name, input_name, output_name)

    def add_reverse(
        self, name: str, input_name: str, output_name: str, reverse_dim: Sequence[bool] | None = None
    ) -> Message:
        """A tensor in reverse along the axes where ``reverse_dim`` is true; without it along its only axis."""
        return self._add("reverse", name, input_name, output_name, reverseDim=reverse_dim or [True])

    def add_reverse_sequence(
        self,
        name: str,
        input_names: Sequence[str],
        output_name: str,
        batch_axis: int = 0,
        seq_axis: int = -1,
    ) -> Message:
        """Sequences in reverse, each of the length that the second input states."""
        axes = {"batchAxis": batch_axis, "sequenceAxis": seq_axis}
        return self._add("reverseSeq", name, input_names, output_name, **axes)

    def add_matrix_band_part(
        self, name: str, input_name: str, output_name: str, num_lower: int = -1, num_upper: int = -1
    ) -> Message:
        """Matrices with zeros outside a band: so many diagonals below and above the main one, all of them for −1."""
        return self._add("matrixBandPart", name, input_name, output_name, numLower=num_lower, numUpper=num_upper)

    def add_lower_triangular(self, name: str, input_name: str, output_name: str, k: int = 0) -> Message:
        """Matrices with zeros above the diagonal ``k``, counted upwards from the main one."""
        return self._add("lowerTriangular", name, input_name, output_name, k=k)

    def add_upper_triangular(self, name: str, input_name: str, output_name: str, k: int = 0) -> Message:
        """Matrices with zeros below the diagonal ``k``, counted upwards from the main one."""
        return self._add("upperTriangular", name, input_name, output_name, k=k)

    def add_nms(
        self,
        name: str,
        input_names: Sequence[str],
        output_names: Sequence[str],
        iou_threshold: float = 0.5,
        score_threshold: float = 0.0,
        max_boxes: int = 1,
        per_class_suppression: bool = False,
    ) -> Message:
        """Non-maximum suppression.

        Args:
            name: The layer's name.
            input_names: Boxes [B, N, 4] (centre x and y, width, height) and scores [B, N, classes]; then perhaps
                thresholds and the number of boxes, instead of the parameters.
            output_names: Boxes [B, max_boxes, 4], scores [B, max_boxes, classes], indices [B, max_boxes], and how many
                were found [B].
            iou_threshold: Boxes that overlap by more are one.
            score_threshold: Boxes with less do not count.
            max_boxes: How many to keep.
            per_class_suppression: Boxes of different classes never suppress each other.
        """
        return self._add(
            "NonMaximumSuppression",
            name,
            input_names,
            output_names,
            iouThreshold=iou_threshold,
            scoreThreshold=score_threshold,
            maxBoxes=max_boxes,
            perClassSuppression=per_class_suppression,
        )
