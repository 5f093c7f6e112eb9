"""Reductions, running sums and orders."""

from __future__ import annotations

from collections.abc import Sequence

from gristmill.models.neural_network.layers.core import IOS_14, LayerBuilder, Names
from gristmill.package.proto import Message

Axes = Sequence[int] | None


class ReductionLayers(LayerBuilder):
    """Layers that take elements along axes together.

    Of all ``add_reduce_*`` the ``axes``, counted from the end where negative, are reduced; all of them where there are
    none or ``reduce_all`` says so. ``keepdims`` keeps them with size 1.
    """

    def add_reduce(
        self, name: str, input_name: str, output_name: str, axis: str, mode: str, epsilon: float = 1e-6
    ) -> Message:
        """Reduces images.

        Args:
            name: The layer's name.
            input_name: What it reads.
            output_name: What it makes.
            axis: ``CHW``, ``HW``, ``C``, ``H`` or ``W``.
            mode: ``sum``, ``avg``, ``prod``, ``logsum``, ``sumsquare``, ``l1``, ``l2``, ``max``, ``min`` or ``argmax``.
            epsilon: What ``logsum`` adds before it takes the logarithm.

        Raises:
            InputError: There is no such mode or axis.
        """
        return self._add("reduce", name, input_name, output_name, axis=axis, mode=mode, epsilon=epsilon)

    def add_reduce_sum(
        self,
        name: str,
        input_name: str,
        output_name: str,
        axes: Axes = None,
        keepdims: bool = True,
        reduce_all: bool = False,
    ) -> Message:
        """Sums along axes."""
        return self._reduce("reduceSum", name, input_name, output_name, axes, keepdims, reduce_all)

    def add_reduce_prod(
        self,
        name: str,
        input_name: str,
        output_name: str,
        axes: Axes = None,
        keepdims: bool = True,
        reduce_all: bool = False,
    ) -> Message:
        """Products along axes."""
        return self._reduce("reduceProd", name, input_name, output_name, axes, keepdims, reduce_all)

    def add_reduce_mean(
        self,
        name: str,
        input_name: str,
        output_name: str,
        axes: Axes = None,
        keepdims: bool = True,
        reduce_all: bool = False,
    ) -> Message:
        """Means along axes."""
        return self._reduce("reduceMean", name, input_name, output_name, axes, keepdims, reduce_all)

    def add_reduce_max(
        self,
        name: str,
        input_name: str,
        output_name: str,
        axes: Axes = None,
        keepdims: bool = True,
        reduce_all: bool = False,
    ) -> Message:
        """Largest elements along axes."""
        return self._reduce("reduceMax", name, input_name, output_name, axes, keepdims, reduce_all)

    def add_reduce_min(
        self,
        name: str,
        input_name: str,
        output_name: str,
        axes: Axes = None,
        keepdims: bool = True,
        reduce_all: bool = False,
    ) -> Message:
        """Smallest elements along axes."""
        return self._reduce("reduceMin", name, input_name, output_name, axes, keepdims, reduce_all)

    def add_reduce_l2(
        self,
        name: str,
        input_name: str,
        output_name: str,
        axes: Axes = None,
        keepdims: bool = True,
        reduce_all: bool = False,
    ) -> Message:
        """Square roots of sums of squares along axes."""
        return self._reduce("reduceL2", name, input_name, output_name, axes, keepdims, reduce_all)

    def add_reduce_l1(
        self,
        name: str,
        input_name: str,
        output_name: str,
        axes: Axes = None,
        keepdims: bool = True,
        reduce_all: bool = False,
    ) -> Message:
        """Sums of magnitudes along axes."""
        return self._reduce("reduceL1", name, input_name, output_name, axes, keepdims, reduce_all)

    def add_reduce_sumsquare(
        self,
        name: str,
        input_name: str,
        output_name: str,
        axes: Axes = None,
        keepdims: bool = True,
        reduce_all: bool = False,
    ) -> Message:
        """Sums of squares along axes."""
        return self._reduce("reduceSumSquare", name, input_name, output_name, axes, keepdims, reduce_all)

    def add_reduce_logsum(
        self,
        name: str,
        input_name: str,
        output_name: str,
        axes: Axes = None,
        keepdims: bool = True,
        reduce_all: bool = False,
    ) -> Message:
        """Logarithms of sums along axes."""
        return self._reduce("reduceLogSum", name, input_name, output_name, axes, keepdims, reduce_all)

    def add_reduce_logsumexp(
        self,
        name: str,
        input_name: str,
        output_name: str,
        axes: Axes = None,
        keepdims: bool = True,
        reduce_all: bool = False,
    ) -> Message:
        """Logarithms of sums of exponentials along axes."""
        return self._reduce("reduceLogSumExp", name, input_name, output_name, axes, keepdims, reduce_all)

    def _reduce(
        self, kind: str, name: str, input_name: str, output_name: str, axes: Axes, keepdims: bool, reduce_all: bool
    ) -> Message:
        chosen = [] if axes is None else [int(axis) for axis in axes]
        everything = reduce_all or not chosen
        return self._add(kind, name, input_name, output_name, axes=chosen, keepDims=keepdims, reduceAll=everything)

    def add_argmax(self, name: str, input_name: str, output_name: str, axis: int, keepdims: bool = True) -> Message:
        """Index of the largest element along an axis."""
        return self._add("argMax", name, input_name, output_name, axis=axis, removeDim=not keepdims)

    def add_argmin(self, name: str, input_name: str, output_name: str, axis: int, keepdims: bool = True) -> Message:
        """Index of the smallest element along an axis."""
        return self._add("argMin", name, input_name, output_name, axis=axis, removeDim=not keepdims)

    def add_argsort(
        self, name: str, input_name: str, output_name: str, axis: int = 0, descending: bool = False
    ) -> Message:
        """Indices that sort along an axis."""
        self._needs(IOS_14)
        return self._add("argSort", name, input_name, output_name, axis=axis, descending=descending)

    def add_topk(
        self,
        name: str,
        input_names: Names,
        output_names: Sequence[str],
        k: int = 0,
        axis: int = 0,
        use_bottom_k: bool = False,
    ) -> Message:
        """The ``k`` largest, or smallest, elements along an axis, and their indices; a second input may be k."""
        return self._add("topK", name, input_names, output_names, K=k, axis=axis, useBottomK=use_bottom_k)

    def add_cumsum(
        self,
        name: str,
        input_names: Names,
        output_name: str,
        axis: int = -1,
        reverse: bool = False,
        exclusive: bool = False,
    ) -> Message:
        """Running sums along an axis, which may be a second input; ``exclusive`` ones leave each element itself out."""
        self._needs(IOS_14)
        return self._add(
            "cumSum", name, input_names, output_name, axis=axis, reverse=reverse, excludeFinalSum=exclusive
        )
