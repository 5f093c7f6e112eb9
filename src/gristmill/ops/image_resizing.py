"""Resizing, cropping and resampling of images: the last two axes are height and width.

Linear interpolation samples an axis of n elements at a grid of m points, which lie, before they are clamped to 0 … n-1,
at (``i`` = 0 … m-1)

=======================  ==========================================================
``DEFAULT``              i·n/m
``STRICT_ALIGN_CORNERS`` i·(n-1)/(m-1), and 0 for m = 1
``ALIGN_CORNERS``        the same, but (n-1)/2 for m = 1
``OFFSET_CORNERS``       (i + 1/2)·max(1, n-1)/m
``UNALIGN_CORNERS``      (i + 1/2)·n/m - 1/2
=======================  ==========================================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gristmill.ir import dims
from gristmill.ir.constants import Array
from gristmill.ir.dims import Dim
from gristmill.ir.op import Op
from gristmill.ir.opset import iOS15, iOS16, iOS17
from gristmill.ir.signature import Const, Operand, OptionalOperand, TypeVar
from gristmill.ir.traits import DataMovement
from gristmill.ir.types import Type, fp16, fp32, int8, int16, int32, uint8, uint16, uint32
from gristmill.ops.sizes import claim, sized

SAMPLING_MODES = ("DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS", "UNALIGN_CORNERS")
BOX_MODES = ("CORNERS_HEIGHT_FIRST", "CORNERS_WIDTH_FIRST", "CENTER_SIZE_HEIGHT_FIRST", "CENTER_SIZE_WIDTH_FIRST")

ANY_RANK = 64
"""Above the rank of every tensor; where Core ML asks for a least rank only."""


# --- grids -----------------------------------------------------------------------------------------------------------


def grid(size: int, count: int, mode: str) -> tuple[Array, int]:
    """The grid of a sampling mode, clamped to the axis, as integer numerators over one denominator."""
    i = np.arange(count, dtype=np.int64)
    if mode == "ALIGN_CORNERS" and count == 1:
        points, over = i + (size - 1), 2
    elif mode.endswith("ALIGN_CORNERS") and mode != "UNALIGN_CORNERS":
        points, over = i * (size - 1), max(1, count - 1)
    elif mode == "OFFSET_CORNERS":
        points, over = (2 * i + 1) * max(1, size - 1), 2 * count
    elif mode == "UNALIGN_CORNERS":
        points, over = (2 * i + 1) * size - count, 2 * count
    else:
        points, over = i * size, count
    return np.clip(points, 0, (size - 1) * over), over


def nearest_index(size: int, count: int, mode: str) -> Array:
    """The element nearest to each grid point, the later one of two equally near.

    ``DEFAULT`` takes pixels as areas: the element in which the middle of the result's pixel lies, as
    ``UNALIGN_CORNERS`` does.
    """
    points, over = grid(size, count, "UNALIGN_CORNERS" if mode == "DEFAULT" else mode)
    return np.minimum((2 * points + over) // (2 * over), size - 1)


def interpolate(x: Array, axis: int, position: Array) -> Array:
    """Linear interpolation of a floating array along an axis, at positions in 0 … n-1."""
    low = np.floor(position).astype(np.int64)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    weight = (position - low).reshape(-1, *(1,) * (-axis - 1))
    return np.take(x, low, axis) * (1 - weight) + np.take(x, high, axis) * weight


def resized(x: Array, sizes: Sequence[int], interpolation: str, mode: str) -> Array:
    """The last axes of an array brought to new sizes."""
    claim((*x.shape[: x.ndim - len(sizes)], *sizes), x.itemsize)
    scale = 1
    if x.dtype.kind != "f":  # exact, over a common denominator
        bits = sum((2 * count).bit_length() for count in sizes)
        x = x.astype(np.int64 if bits < 32 else object)
    for axis, count in zip(range(-len(sizes), 0), sizes, strict=True):
        size = x.shape[axis]
        if interpolation == "NEAREST_NEIGHBOR":
            x = np.take(x, nearest_index(size, count, mode), axis)
            continue
        points, over = grid(size, count, mode)
        if x.dtype.kind == "f":
            x = interpolate(x, axis, points / over)
            continue
        low, rest = np.divmod(points, over)
        rest = rest.reshape(-1, *(1,) * (-axis - 1))
        x = np.take(x, low, axis) * (over - rest) + np.take(x, np.minimum(low + 1, size - 1), axis) * rest
        scale *= over
    if x.dtype.kind != "f":
        return (np.sign(x) * (abs(x) // scale)).astype(np.int64)
    return x


# --- resizing --------------------------------------------------------------------------------------------------------


class _Resized(Op):
    T = TypeVar(fp16, fp32)

    x = Operand(T, rank=(3, ANY_RANK))

    def to(self, height: Dim, width: Dim) -> Type:
        """The type of x with other last sizes."""
        if any(dims.always_lt(size, 1) for size in (height, width)):
            raise self.misfit("height and width of the result", expected="at least 1", actual=(height, width))
        return self.x.tensor.with_shape(sized((*self.x.shape[:-2], height, width)))


def picked(x: Array, rows: Array, columns: Array) -> Array:
    """The elements of an image at the crossings of rows and columns."""
    claim((*x.shape[:-2], len(rows), len(columns)), x.itemsize)
    return x[..., rows[:, np.newaxis], columns]


class resize_bilinear(_Resized):
    """Bilinear interpolation to a target size, on the grid of ``sampling_mode`` (see the module)."""

    target_size_height = Const(int, default=1)
    target_size_width = Const(int, default=1)
    sampling_mode = Const(str, default="DEFAULT", choices=SAMPLING_MODES)

    def infer(self) -> Type:
        return self.to(self.target_size_height, self.target_size_width)

    def reference(self, x: Array, target_size_height: int, target_size_width: int, sampling_mode: str) -> Array:
        return resized(x, (target_size_height, target_size_width), "LINEAR", sampling_mode)


class resize_nearest_neighbor(_Resized):
    """The element of x in which the middle of the result's pixel lies: ``x[⌊(i + 1/2)·n/m⌋]`` along both axes."""

    target_size_height = Const(int)
    target_size_width = Const(int)
    traits = (DataMovement,)

    def infer(self) -> Type:
        return self.to(self.target_size_height, self.target_size_width)

    def reference(self, x: Array, target_size_height: int, target_size_width: int) -> Array:
        rows = nearest_index(x.shape[-2], target_size_height, "DEFAULT")
        columns = nearest_index(x.shape[-1], target_size_width, "DEFAULT")
        return picked(x, rows, columns)


class _Upsample(_Resized):
    """Scaling by factors, whole or fractional: the result has ⌊n·factor⌋ elements, the product taken in float32."""

    U = TypeVar(fp32, int32)

    scale_factor_height = Const(float, U, default=1)
    scale_factor_width = Const(float, U, default=1)

    def infer(self) -> Type:
        height, width = self.x.shape[-2:]
        return self.to(self._scaled(height, self.scale_factor_height), self._scaled(width, self.scale_factor_width))

    def _scaled(self, size: Dim, factor: float) -> Dim:
        if not 0 < factor < math.inf:
            raise self.misfit("scale factor", expected="positive", actual=factor)
        over, under = factor.as_integer_ratio()
        if under <= 256:  # the product is exact in float32, up to sizes that no image has
            return dims.floor_div(size * over, under)
        if not isinstance(size, int):  # it is rounded, which no expression says
            return dims.fresh("scaled", 1)
        return int(np.floor(np.float32(factor) * np.float32(size)))

    def sizes(self, x: Array) -> tuple[int, int]:
        height = self._scaled(x.shape[-2], self.scale_factor_height)
        width = self._scaled(x.shape[-1], self.scale_factor_width)
        assert isinstance(height, int)
        assert isinstance(width, int)
        return height, width


class upsample_bilinear(_Upsample):
    """Bilinear interpolation, scaled by factors; the grid follows from the two sizes.

    ``align_corners`` takes the grid ``STRICT_ALIGN_CORNERS`` (see the module). Otherwise ``half_pixel_centers``, by
    default true, takes ``UNALIGN_CORNERS``, and its absence ``DEFAULT``.
    """

    align_corners = Const(bool, default=True)
    half_pixel_centers = Const(bool, default=None, since=iOS16)

    @property
    def grid(self) -> str:
        """The sampling mode."""
        if self.align_corners:
            return "STRICT_ALIGN_CORNERS"
        centred = self.half_pixel_centers if self.opset >= iOS16 else None
        return "DEFAULT" if centred is False else "UNALIGN_CORNERS"

    def reference(self, x: Array) -> Array:
        return resized(x, self.sizes(x), "LINEAR", self.grid)


class upsample_nearest_neighbor(_Upsample):
    """The element at the rounded-down place: ``x[⌊i·n/m⌋]`` along both axes, for n elements that become m."""

    traits = (DataMovement,)

    def reference(self, x: Array) -> Array:
        rows, columns = (np.arange(m) * n // m for n, m in zip(x.shape[-2:], self.sizes(x), strict=True))
        return picked(x, rows, columns)


class resize(Op):
    """Resizing of the last ``resized_dims`` axes to the last ``resized_dims`` elements of ``shape``.

    An element 0 keeps the size of x. ``LINEAR`` interpolates on the grid of ``sampling_mode`` (see the module), one
    axis after another; an integer result is rounded towards zero, once. ``NEAREST_NEIGHBOR`` takes the element nearest
    to the grid point, the later of two equally near; with ``DEFAULT`` the one in which the middle of the result's pixel
    lies, as ``resize_nearest_neighbor``.
    """

    since = iOS17
    T = TypeVar(fp16, fp32, int32)
    U = TypeVar(int32, int16, uint16, uint32)

    x = Operand(T)
    shape = Operand(U, rank=1)
    resized_dims = Const(int, uint32)
    interpolation_mode = Const(str, default="LINEAR", choices=("LINEAR", "NEAREST_NEIGHBOR"))
    sampling_mode = Const(str, default="DEFAULT", choices=SAMPLING_MODES)

    def infer(self) -> Type:
        count, given = self.resized_dims, self.shape.shape[0]
        if dims.always_lt(given, count):
            raise self.misfit("resized_dims", expected=f"at most {given}, the length of shape", actual=count)
        if dims.always_lt(self.x.rank, given):
            raise self.misfit("length of shape", expected=f"at most {self.x.rank}, the rank of x", actual=given)
        if count > self.x.rank:
            raise self.misfit("resized_dims", expected=f"at most {self.x.rank}, the rank of x", actual=count)
        kept = self.x.shape[: self.x.rank - count]
        contents = self.shape.contents
        wanted = (
            [dims.fresh("size") for _ in range(count)] if contents is None else list(contents[len(contents) - count :])
        )
        sizes = [own if size == 0 else size for own, size in zip(self.x.shape[len(kept) :], wanted, strict=True)]
        return self.x.tensor.with_shape(sized((*kept, *sizes)))

    def reference(
        self, x: Array, shape: Array, resized_dims: int, interpolation_mode: str, sampling_mode: str
    ) -> Array:
        wanted = [int(n) for n in shape[len(shape) - resized_dims :]]
        if any(n < 0 for n in wanted):
            raise ValueError(f"sizes cannot be negative: {wanted}")
        own = x.shape[x.ndim - resized_dims :]
        return resized(x, [n or m for n, m in zip(wanted, own, strict=True)], interpolation_mode, sampling_mode)


# --- cropping --------------------------------------------------------------------------------------------------------


class crop(_Resized):
    """x without ``crop_height[0]`` rows above, ``crop_height[1]`` below, and so many columns left and right."""

    crop_height = Const.ints()
    crop_width = Const.ints()
    traits = (DataMovement,)

    def infer(self) -> Type:
        height, width = self.x.shape[-2:]
        for name, amounts in (("crop_height", self.crop_height), ("crop_width", self.crop_width)):
            if len(amounts) != 2 or min(amounts) < 0:
                raise self.misfit(name, expected="two amounts, not negative", actual=amounts)
        return self.to(height - sum(self.crop_height), width - sum(self.crop_width))

    def reference(self, x: Array, crop_height: tuple[int, ...], crop_width: tuple[int, ...]) -> Array:
        (top, bottom), (left, right) = crop_height, crop_width
        return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


class crop_resize(Op):
    """Boxes of images, each resized bilinearly to one target size.

    Until iOS16 ``roi`` [N, 1, 4 or 5, 1, 1] holds N boxes. With 4 numbers each is cut out of all B images of x, which
    makes [N, B, C, h, w]; a fifth number in front chooses the image, which makes [N, 1, C, h, w]. Since iOS17 the boxes
    are ``boxes`` [N, 4], ``box_indices`` [N] chooses the images (0, 1, …, N-1 by default), and the result is
    [N, C, h, w].

    Coordinates are multiplied by ``spatial_scale`` and, if normalized, by height - 1 and width - 1. Between the two
    ends a and b of a box lies the grid of ``sampling_mode`` for an axis of b - a + 1 elements (see the module), counted
    from a and clamped to the box; b may be less than a, which turns the box round. A grid point outside the image gives
    ``pad_value`` (0 until iOS15). ``UNALIGN_CORNERS`` instead takes the whole axis where a box reaches outside, as Core
    ML's own tests expect.
    """

    T = TypeVar(fp16, fp32)
    BOX = TypeVar(fp16, fp32, uint16)
    INDEX = TypeVar(uint16, int32)

    x = Operand(T, rank=4)
    roi = Operand(T, rank=5, until=iOS17)
    boxes = Operand(BOX, rank=2, since=iOS17)
    box_indices = OptionalOperand(INDEX, rank=1, since=iOS17)
    target_height = Const(int, default=1)
    target_width = Const(int, default=1)
    normalized_coordinates = Const(bool, default=False)
    spatial_scale = Const(float, fp32, default=1.0)
    box_coordinate_mode = Const(str, default="CORNERS_HEIGHT_FIRST", choices=BOX_MODES)
    sampling_mode = Const(str, default="DEFAULT", choices=SAMPLING_MODES)
    pad_value = Const(float, T, default=0.0, since=iOS16)

    def infer(self) -> Type:
        batch, channels = self.x.shape[:2]
        if self.target_height < 1 or self.target_width < 1:
            raise self.misfit("target size", expected="at least 1", actual=(self.target_height, self.target_width))
        made = (channels, self.target_height, self.target_width)
        if self.opset < iOS17:
            count, one, numbers, *ones = self.roi.shape
            if any(dims.never_equal(n, 1) for n in (one, *ones)) or numbers not in (4, 5):
                raise self.misfit("shape of roi", expected="[N, 1, 4 or 5, 1, 1]", actual=self.roi.shape)
            return self.x.tensor.with_shape(sized((count, 1 if numbers == 5 else batch, *made)))
        count, numbers = self.boxes.shape
        if dims.never_equal(numbers, 4):
            raise self.misfit("shape of boxes", expected="[N, 4]", actual=self.boxes.shape)
        if self.box_indices is None and dims.always_lt(batch, count):
            raise self.misfit("boxes without box_indices", expected=f"at most {batch}, one an image", actual=count)
        if self.box_indices is not None and dims.never_equal(self.box_indices.shape[0], count):
            raise self.misfit("length of box_indices", expected=count, actual=self.box_indices.shape[0])
        if self.normalized_coordinates and not self.boxes.dtype.is_float:
            raise self.misfit("normalized boxes", expected="a floating type", actual=self.boxes.dtype)
        return self.x.tensor.with_shape(sized((count, *made)))

    def reference(self, x: Array, roi: Array | None, boxes: Array | None, box_indices: Array | None) -> Array:
        if roi is not None:
            numbers = roi.reshape(len(roi), -1)
            boxes = numbers[:, -4:]
            chosen = numbers[:, 0].astype(np.int64) if numbers.shape[1] == 5 else None
        else:
            assert boxes is not None
            chosen = np.arange(len(boxes)) if box_indices is None else box_indices.astype(np.int64)
        if chosen is not None and not np.all((chosen >= 0) & (chosen < len(x))):
            raise ValueError(f"a box is of image {chosen.min()} to {chosen.max()}, but there are {len(x)}")
        made = (x.shape[1], self.target_height, self.target_width)
        shape = (len(boxes), *made) if roi is None else (len(boxes), len(x) if chosen is None else 1, *made)
        result = np.empty(claim(shape, 8))
        for n, box in enumerate(boxes.astype(np.float64)):
            result[n] = self._cut(x if chosen is None else x[chosen[n]], box)
        return result

    def _cut(self, image: Array, box: Array) -> Array:
        height, width = image.shape[-2:]
        if self.box_coordinate_mode.endswith("WIDTH_FIRST"):
            box = box[[1, 0, 3, 2]]
        first, second = box[:2], box[2:]
        if self.box_coordinate_mode.startswith("CENTER"):
            first, second = first - second / 2, first + second / 2
        scale = self.spatial_scale * (np.array([height - 1, width - 1]) if self.normalized_coordinates else np.ones(2))
        (top, left), (bottom, right) = first * scale, second * scale
        rows = self._between(top, bottom, height, self.target_height)
        columns = self._between(left, right, width, self.target_width)
        cut = interpolate(image, -2, np.nan_to_num(np.clip(rows, 0, height - 1)))
        cut = interpolate(cut, -1, np.nan_to_num(np.clip(columns, 0, width - 1)))
        inside = np.logical_and.outer((rows >= 0) & (rows <= height - 1), (columns >= 0) & (columns <= width - 1))
        return np.where(inside, cut, self.pad_value if self.opset >= iOS16 else 0)

    def _between(self, start: float, end: float, size: int, count: int) -> Array:
        """The grid between the ends of a box, along an axis of ``size`` pixels."""
        if self.sampling_mode == "UNALIGN_CORNERS" and not (min(start, end) >= 0 and max(start, end) <= size - 1):
            start, end = 0, size - 1
        length, sign = abs(end - start), 1 if end >= start else -1
        i = np.arange(count)
        match self.sampling_mode:
            case "DEFAULT":
                points = i * (length + 1) / count
            case "OFFSET_CORNERS":
                points = (i + 0.5) * max(1, length) / count
            case "UNALIGN_CORNERS":
                points = (i + 0.5) * (length + 1) / count - 0.5
            case mode:
                points = i * length / max(1, count - 1)
                if mode == "ALIGN_CORNERS" and count == 1:
                    points = points + length / 2
        points = start + sign * np.clip(points, 0, length)
        return np.clip(points, min(start, end), max(start, end))  # the sum may round past the end


# --- resampling ------------------------------------------------------------------------------------------------------


def _unnormalized(coordinate: Array, size: int, mode: str, align_corners: bool) -> Array:
    """Coordinates counted in pixels, the centre of the first at 0."""
    if mode == "unnormalized":
        return coordinate
    unit = (coordinate + 1) / 2 if mode == "normalized_minus_one_to_one" else coordinate
    return unit * (size - 1) if align_corners else unit * size - 0.5


def _padded(position: Array, size: int, mode: str) -> Array:
    """Positions brought into the image, for every padding mode but ``constant``; NaN becomes 0."""
    if mode == "constant":
        return np.nan_to_num(np.clip(position, -2, size + 1), nan=-2)
    if mode != "border":
        low, span = (0.0, size - 1.0) if mode == "reflection" else (-0.5, float(size))
        if span == 0:
            return np.zeros_like(position)
        rest = np.mod(position - low, 2 * span)
        position = low + np.minimum(rest, 2 * span - rest)
    return np.nan_to_num(np.clip(position, 0, size - 1))


def sample(x: Array, columns: Array, rows: Array, sampling: str, padding: str, value: float) -> Array:
    """Pixels of x [B, C, H, W] at positions [B, h, w] each, as [B, C, h, w]."""
    height, width = x.shape[2:]
    columns, rows = _padded(columns, width, padding), _padded(rows, height, padding)
    images = np.arange(len(x))[:, np.newaxis, np.newaxis]
    pixels = np.moveaxis(x, 1, -1)

    def at(row: Array, column: Array) -> Array:
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        found = pixels[images, np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
        return np.where(inside[..., np.newaxis], found, value)

    if sampling == "nearest":
        made = at(np.rint(rows).astype(np.int64), np.rint(columns).astype(np.int64))
        return np.moveaxis(made, -1, 1)
    top, left = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    down, across = (rows - top)[..., np.newaxis], (columns - left)[..., np.newaxis]
    upper = at(top, left) * (1 - across) + at(top, left + 1) * across
    lower = at(top + 1, left) * (1 - across) + at(top + 1, left + 1) * across
    return np.moveaxis(upper * (1 - down) + lower * down, -1, 1)


class resample(Op):
    """Pixels of x [B, C, H, W] at ``coordinates`` [B, h, w, 2], each (horizontal, vertical), as [B, C, h, w].

    ``coordinates_mode``: ``unnormalized`` counts pixels from the centre of the first;
    ``normalized_minus_one_to_one`` and ``normalized_zero_to_one`` span the image, from centre to centre of the corner
    pixels with ``align_corners``, else from edge to edge. ``sampling_mode``: ``bilinear``, or ``nearest``, to the even
    pixel of two equally near. ``padding_mode``: pixels outside are ``padding_value`` (``constant``), those of the edge
    (``border``), or the image turned over at the centres of the corner pixels (``reflection``) or at their edges
    (``symmetric``). A coordinate that is NaN is outside, or the first pixel where nothing is outside.
    """

    since = iOS15
    T = TypeVar(fp16, fp32)
    U = TypeVar(int32, fp32).also(iOS16, fp16).also(iOS17, int8, uint8, int16, uint16)

    x = Operand(T, rank=4)
    coordinates = Operand(U, rank=4)
    sampling_mode = Const(str, choices=("bilinear", "nearest"))
    padding_mode = Const(str, choices=("constant", "border", "reflection", "symmetric"))
    padding_value = Const(float, T)
    coordinates_mode = Const(str, choices=("unnormalized", "normalized_minus_one_to_one", "normalized_zero_to_one"))
    align_corners = Const(bool)

    def infer(self) -> Type:
        batch, channels = self.x.shape[:2]
        images, height, width, two = self.coordinates.shape
        if dims.never_equal(images, batch):
            raise self.misfit("images of the coordinates", expected=batch, actual=images)
        if dims.never_equal(two, 2):
            raise self.misfit("last dimension of the coordinates", expected=2, actual=two)
        return self.x.tensor.with_shape((batch, channels, height, width))

    def reference(
        self, x: Array, coordinates: Array, sampling_mode: str, padding_mode: str, padding_value: float
    ) -> Array:
        columns, rows = (
            _unnormalized(coordinates[..., k].astype(np.float64), size, self.coordinates_mode, self.align_corners)
            for k, size in enumerate(x.shape[:1:-1])
        )
        return sample(x, columns, rows, sampling_mode, padding_mode, padding_value)


class affine(Op):
    """An affine image of x [B, C, H, W], as [B, C, output_height, output_width].

    The pixel at (u, v), from -1 to 1 across and down, is x at (a₀·u + a₁·v + a₂, b₀·u + b₁·v + b₂), bilinearly, and
    ``padding_value`` outside. ``transform_matrix`` [B or 1, 6] holds a₀, a₁, a₂, b₀, b₁, b₂. With ``align_corners``
    -1 and 1 are the centres of the corner pixels, else their outer edges; an axis of one pixel has it at 0.
    """

    since = iOS15
    T = TypeVar(fp16, fp32)

    x = Operand(T, rank=4)
    transform_matrix = Operand(T, rank=2)
    output_height = Const(int)
    output_width = Const(int)
    sampling_mode = Const(str)
    padding_mode = Const(str)
    padding_value = Const(float, T)
    coordinates_mode = Const(str)
    align_corners = Const(bool)

    def infer(self) -> Type:
        known = {
            "sampling_mode": "bilinear",
            "padding_mode": "constant",
            "coordinates_mode": "normalized_minus_one_to_one",
        }
        for name, only in known.items():
            actual = getattr(self, name)
            if actual.lower() != only:
                raise self.misfit(name, expected=only, actual=actual)
        matrices, six = self.transform_matrix.shape
        if dims.never_equal(six, 6) or (dims.never_equal(matrices, 1) and dims.never_equal(matrices, self.x.shape[0])):
            raise self.misfit("shape of transform_matrix", expected="[B or 1, 6]", actual=self.transform_matrix.shape)
        if self.output_height < 1 or self.output_width < 1:
            raise self.misfit("output size", expected="at least 1", actual=(self.output_height, self.output_width))
        return self.x.tensor.with_shape(sized((*self.x.shape[:2], self.output_height, self.output_width)))

    def reference(self, x: Array, transform_matrix: Array, padding_value: float, align_corners: bool) -> Array:
        claim((*x.shape[:2], self.output_height, self.output_width), 8)
        down, across = (self._axis(n) for n in (self.output_height, self.output_width))
        points = np.stack(np.broadcast_arrays(across, down[:, np.newaxis], 1.0))  # (u, v, 1) for every pixel
        images = np.einsum("bik,khw->bihw", transform_matrix.reshape(-1, 2, 3), points)
        images = np.broadcast_to(images, (len(x), *images.shape[1:]))
        mode = "normalized_minus_one_to_one"
        columns = _unnormalized(images[:, 0], x.shape[3], mode, align_corners)
        rows = _unnormalized(images[:, 1], x.shape[2], mode, align_corners)
        return sample(x, columns, rows, "bilinear", "constant", padding_value)

    def _axis(self, count: int) -> Array:
        """Where the result's pixels lie between -1 and 1."""
        i = np.arange(count)
        return (2 * i - (count - 1)) / (max(1, count - 1) if self.align_corners else count)


OPS = (
    affine,
    crop,
    crop_resize,
    resample,
    resize,
    resize_bilinear,
    resize_nearest_neighbor,
    upsample_bilinear,
    upsample_nearest_neighbor,
)
