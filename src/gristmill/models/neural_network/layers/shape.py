"""Shapes, axes, and tensors put together and taken apart."""

from __future__ import annotations

from collections.abc import Sequence

from gristmill.models.neural_network.layers.core import IOS_14, LayerBuilder, Names, as_names, require
from gristmill.package.proto import Message

_ORDERS = ("CHANNEL_FIRST", "CHANNEL_LAST")


class ShapeLayers(LayerBuilder):
    """Layers that move elements without computing; sizes of −1 in shapes follow from the others."""

    # -- images: [sequence, batch, channels, height, width] ----------------------------------------------------------

    def add_flatten(self, name: str, mode: int, input_name: str, output_name: str) -> Message:
        """Images as channels of size 1 × 1; ``mode`` 0 goes through channels first, 1 last."""
        op = f"flatten '{name}'"
        require(
            mode in (0, 1), "unknown mode", op=op, expected="0 for channels first, 1 for channels last", actual=mode
        )
        return self._add("flatten", name, input_name, output_name, mode=_ORDERS[mode])

    def add_reshape(
        self, name: str, input_name: str, output_name: str, target_shape: Sequence[int], mode: int
    ) -> Message:
        """Images of the shape [C, H, W] or [sequence, C, H, W]; ``mode`` 0 goes through channels first, others last."""
        op, shape = f"reshape '{name}'", list(target_shape)
        require(len(shape) in (3, 4), "a target_shape of another length", op=op, expected="3 or 4", actual=shape)
        order = _ORDERS[0 if mode == 0 else 1]
        return self._add("reshape", name, input_name, output_name, targetShape=shape, mode=order)

    def add_permute(self, name: str, dim: Sequence[int], input_name: str, output_name: str) -> Message:
        """Axes of images in another order: those of [sequence, C, H, W] that come first, second and so on."""
        require(sorted(dim) == [0, 1, 2, 3], "an order of four axes", op=f"permute '{name}'", actual=list(dim))
        return self._add("permute", name, input_name, output_name, axis=dim)

    def add_split(self, name: str, input_name: str, output_names: Sequence[str]) -> Message:
        """Equal parts of the channels."""
        return self._add("split", name, input_name, output_names, nOutputs=len(as_names(output_names)))

    def add_slice(
        self,
        name: str,
        input_name: str,
        output_name: str,
        axis: str,
        start_index: int = 0,
        end_index: int = -1,
        stride: int = 1,
    ) -> Message:
        """A part of images along the axis ``channel``, ``height`` or ``width``; an end of −1 keeps the last but one."""
        op = f"slice '{name}'"
        require(start_index >= 0, "start_index out of range", op=op, expected="0 or more", actual=start_index)
        require(stride >= 1, "stride out of range", op=op, expected="1 or more", actual=stride)
        fields = {"startIndex": start_index, "endIndex": end_index, "stride": stride}
        return self._add("slice", name, input_name, output_name, axis=f"{axis}_AXIS", **fields)

    def add_sequence_repeat(self, name: str, nrep: int, input_name: str, output_name: str) -> Message:
        """The sequence ``nrep`` times."""
        return self._add("sequenceRepeat", name, input_name, output_name, nRepetitions=nrep)

    # -- tensors of any rank -----------------------------------------------------------------------------------------

    def add_transpose(self, name: str, axes: Sequence[int], input_name: str, output_name: str) -> Message:
        """Axes in another order; negative ones count from the end."""
        order = [axis + len(axes) if axis < 0 else axis for axis in axes]
        require(
            sorted(order) == list(range(len(axes))), "no order of axes", op=f"transpose '{name}'", actual=list(axes)
        )
        return self._add("transpose", name, input_name, output_name, axes=order)

    def add_concat_nd(
        self, name: str, input_names: Sequence[str], output_name: str, axis: int, interleave: bool = False
    ) -> Message:
        """Tensors one after the other along an axis; interleaved, their first elements come first."""
        if interleave:
            self._needs(IOS_14)
        return self._add("concatND", name, input_names, output_name, axis=axis, interleave=interleave)

    def add_stack(self, name: str, input_names: Sequence[str], output_name: str, axis: int = 0) -> Message:
        """Tensors one after the other along a new axis."""
        return self._add("stack", name, input_names, output_name, axis=axis)

    def add_split_nd(
        self,
        name: str,
        input_name: str,
        output_names: Sequence[str],
        axis: int,
        num_splits: int = 2,
        split_sizes: Sequence[int] | None = None,
    ) -> Message:
        """Parts along an axis: of the sizes stated, or ``num_splits`` equal ones."""
        sizes = list(split_sizes or ())
        count = len(sizes) or num_splits
        outputs = as_names(output_names)
        require(
            len(outputs) == count, "another number of outputs", op=f"splitND '{name}'", expected=count, actual=outputs
        )
        return self._add("splitND", name, input_name, outputs, axis=axis, numSplits=count, splitSizes=sizes)

    def add_slice_static(
        self,
        name: str,
        input_name: str,
        output_name: str,
        begin_ids: Sequence[int],
        end_ids: Sequence[int],
        strides: Sequence[int],
        begin_masks: Sequence[bool],
        end_masks: Sequence[bool],
        squeeze_masks: Sequence[bool] | None = None,
    ) -> Message:
        """A part of a tensor; all lists have an element for each axis.

        Args:
            name: The layer's name.
            input_name: What it reads.
            output_name: What it makes.
            begin_ids: Where it begins; negative from the end.
            end_ids: Where it ends, this element not included.
            strides: Steps, which may be negative.
            begin_masks: Where true, it begins at the end from which the stride goes.
            end_masks: Where true, it goes to the other end.
            squeeze_masks: Where true, one element is taken and the axis vanishes.

        Raises:
            InputError: The lists have different lengths.
        """
        lists = {"begin_ids": begin_ids, "end_ids": end_ids, "strides": strides}
        lists |= {"begin_masks": begin_masks, "end_masks": end_masks}
        lists |= {"squeeze_masks": squeeze_masks} if squeeze_masks else {}
        lengths = {what: len(one) for what, one in lists.items()}
        require(
            len(set(lengths.values())) == 1, "lists of different lengths", op=f"sliceStatic '{name}'", actual=lengths
        )
        return self._add(
            "sliceStatic",
            name,
            input_name,
            output_name,
            beginIds=begin_ids,
            endIds=end_ids,
            strides=strides,
            beginMasks=begin_masks,
            endMasks=end_masks,
            squeezeMasks=self._squeezed(squeeze_masks),
        )

    def add_slice_dynamic(
        self,
        name: str,
        input_names: Sequence[str],
        output_name: str,
        end_ids: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
        begin_masks: Sequence[bool] | None = None,
        end_masks: Sequence[bool] | None = None,
        squeeze_masks: Sequence[bool] | None = None,
    ) -> Message:
        """As ``add_slice_static``, with the begin as a second input.

        Further inputs stand for parameters: in order the end, strides, and masks of begin, end and squeezing.
        """
        return self._add(
            "sliceDynamic",
            name,
            input_names,
            output_name,
            endIds=end_ids or [1] * 5,
            strides=strides or [1] * 5,
            beginMasks=begin_masks or [False] * 5,
            endMasks=end_masks or [False] * 5,
            squeezeMasks=self._squeezed(squeeze_masks),
        )

    def _squeezed(self, masks: Sequence[bool] | None) -> Sequence[bool] | None:
        """Masks that squeeze anything at all, which iOS 14 brought."""
        if not masks or not any(masks):
            return None
        self._needs(IOS_14)
        return masks

    def add_slice_by_size(
        self, name: str, input_names: Sequence[str], output_name: str, axis: int, size: int
    ) -> Message:
        """``size`` elements along an axis; the second input says where they begin."""
        require(size >= 1, "size out of range", op=f"sliceBySize '{name}'", expected="1 or more", actual=size)
        return self._add("sliceBySize", name, input_names, output_name, axis=axis, size=size)

    def add_sliding_windows(
        self, name: str, input_name: str, output_name: str, axis: int, window_size: int, step: int = 1
    ) -> Message:
        """Windows along an axis, each ``step`` from the one before, as a new axis after it."""
        fields = {"axis": axis, "windowSize": window_size, "step": step}
        return self._add("slidingWindows", name, input_name, output_name, **fields)

    def add_tile(self, name: str, input_name: Names, output_name: str, reps: Sequence[int] = ()) -> Message:
        """A tensor repeated along its axes, as often as ``reps`` or a second input says."""
        inputs = as_names(input_name)
        if len(inputs) == 2:
            reps = ()
            self._needs(IOS_14)
        require(
            all(n > 0 for n in reps), "reps out of range", op=f"tile '{name}'", expected="1 or more", actual=list(reps)
        )
        return self._add("tile", name, inputs, output_name, reps=reps)

    def add_expand_dims(self, name: str, input_name: str, output_name: str, axes: Sequence[int]) -> Message:
        """New axes of size 1, at these places of the result."""
        return self._add("expandDims", name, input_name, output_name, axes=axes)

    def add_squeeze(
        self,
        name: str,
        input_name: str,
        output_name: str,
        axes: Sequence[int] | None = None,
        squeeze_all: bool = False,
    ) -> Message:
        """Without these axes of size 1, or without all of them."""
        return self._add("squeeze", name, input_name, output_name, axes=axes, squeezeAll=squeeze_all)

    def add_flatten_to_2d(self, name: str, input_name: str, output_name: str, axis: int = 1) -> Message:
        """A matrix: axes before ``axis`` are its rows, the others its columns."""
        return self._add("flattenTo2D", name, input_name, output_name, axis=axis)

    def add_reshape_like(self, name: str, input_names: Sequence[str], output_name: str) -> Message:
        """The first input in the second's shape."""
        return self._add("reshapeLike", name, input_names, output_name)

    def add_reshape_static(self, name: str, input_name: str, output_name: str, output_shape: Sequence[int]) -> Message:
        """Another shape."""
        return self._add("reshapeStatic", name, input_name, output_name, targetShape=output_shape)

    def add_reshape_dynamic(self, name: str, input_names: Sequence[str], output_name: str) -> Message:
        """The shape that the second input holds."""
        return self._add("reshapeDynamic", name, input_names, output_name)

    def add_rank_preserving_reshape(
        self, name: str, input_name: str, output_name: str, output_shape: Sequence[int]
    ) -> Message:
        """Another shape of the same rank; a size of 0 stays as it is."""
        shape = [int(size) for size in output_shape]
        layer = self._add("rankPreservingReshape", name, input_name, output_name, targetShape=shape)
        for tensors in (layer.inputTensor, layer.outputTensor):
            tensors.add(rank=len(shape), dimValue=shape)
        return layer

    def add_broadcast_to_like(self, name: str, input_names: Sequence[str], output_name: str) -> Message:
        """The first input, broadcast to the second's shape."""
        op = f"broadcastToLike '{name}'"
        require(len(input_names) == 2, "another number of inputs", op=op, expected=2, actual=input_names)
        return self._add("broadcastToLike", name, input_names, output_name)

    def add_broadcast_to_static(
        self, name: str, input_name: str, output_name: str, output_shape: Sequence[int]
    ) -> Message:
        """A tensor, broadcast to a shape."""
        return self._add("broadcastToStatic", name, input_name, output_name, targetShape=output_shape)

    def add_broadcast_to_dynamic(self, name: str, input_names: Sequence[str], output_name: str) -> Message:
        """The first input, broadcast to the shape that the second holds."""
        return self._add("broadcastToDynamic", name, input_names, output_name)

    def add_get_shape(self, name: str, input_name: str, output_name: str) -> Message:
        """The shape, as a vector."""
        return self._add("getShape", name, input_name, output_name)
