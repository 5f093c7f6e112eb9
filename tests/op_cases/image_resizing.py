"""Cases of ``gristmill.ops.image_resizing``."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from gristmill.ir.opset import iOS15, iOS16, iOS17, iOS26
from gristmill.ir.types import fp32, int16, int32, uint16
from tests.op_cases.case import Case, Fixed, Typed

SINCE_16, SINCE_17 = (iOS16, iOS26), (iOS17, iOS26)


def eighths(*shape):
    """Multiples of 1/8, which every float type holds."""
    return np.random.default_rng(sum(shape)).integers(-16, 17, shape) / 8


IMAGE = eighths(2, 3, 7, 5)
TENS = np.arange(1.0, 17).reshape(1, 1, 4, 4)
SMALL = np.array([[[[11.0, 22], [33, 44]]]])

# Two ways of weighing neighbours differ by some units of float64; a result near 0 needs an absolute allowance for that.
CLOSE = {"atol": 1e-12}


def interpolated(mode, sizes=None, **options):
    """PyTorch's interpolation of a batch of images."""
    return lambda x, **_: F.interpolate(torch.from_numpy(x), size=sizes, mode=mode, **options).numpy()


def at(*points):
    """Linear interpolation at points along each of the last axes."""

    def expected(x, **_):
        for axis, positions in zip(range(-len(points), 0), points, strict=True):
            places = np.arange(x.shape[axis])
            x = np.apply_along_axis(lambda line, p=positions, n=places: np.interp(p, n, line), axis, x)
        return x

    return expected


# Grid points of Core ML's documentation, for axes of 2 elements
GRIDS = {
    "DEFAULT": [[0, 0.4, 0.8, 1, 1], [0, 1 / 3, 2 / 3, 1, 1, 1]],
    "STRICT_ALIGN_CORNERS": [[0, 0.25, 0.5, 0.75, 1], [0, 0.2, 0.4, 0.6, 0.8, 1]],
    "ALIGN_CORNERS": [[0, 0.25, 0.5, 0.75, 1], [0, 0.2, 0.4, 0.6, 0.8, 1]],
    "OFFSET_CORNERS": [[0.1, 0.3, 0.5, 0.7, 0.9], [1 / 12, 3 / 12, 5 / 12, 7 / 12, 9 / 12, 11 / 12]],
    "UNALIGN_CORNERS": [[0, 0.1, 0.5, 0.9, 1], [0, 0, 1 / 3, 2 / 3, 1, 1]],
}
ONE_POINT = {
    "DEFAULT": 0,
    "STRICT_ALIGN_CORNERS": 0,
    "ALIGN_CORNERS": 1.5,
    "OFFSET_CORNERS": 1.5,
    "UNALIGN_CORNERS": 1.5,
}
FEWER = {  # of 4 elements 2
    "DEFAULT": [0, 2],
    "STRICT_ALIGN_CORNERS": [0, 3],
    "ALIGN_CORNERS": [0, 3],
    "OFFSET_CORNERS": [0.75, 2.25],
    "UNALIGN_CORNERS": [0.5, 2.5],
}
LINE, LONGER = np.array([[[0.0, 1]]]), np.array([[[0.0, 1, 2, 3]]])


def grids():
    """Both ops that know the sampling modes, on axes whose values are their own places."""
    settings = [(LINE, 5, {m: g[0] for m, g in GRIDS.items()}), (LINE, 6, {m: g[1] for m, g in GRIDS.items()})]
    settings += [(LONGER, 1, {m: [p] for m, p in ONE_POINT.items()}), (LONGER, 2, FEWER)]
    for x, count, expected in settings:
        for mode, points in expected.items():
            label = f"{mode}-{x.size}-{count}"
            operands = {"x": x, "target_size_height": 1, "target_size_width": count, "sampling_mode": mode}
            yield Case("resize_bilinear", operands, [[points]], id=label)
            operands = {"x": x, "shape": [count], "resized_dims": 1, "sampling_mode": mode}
            yield Case("resize", operands, [[points]], id=label)


def samples():
    """``resample`` against PyTorch, on random points inside and outside of the image."""
    points = np.random.default_rng(5).integers(-24, 25, (2, 4, 6, 2)) / 16
    places = {"constant": "zeros", "border": "border", "reflection": "reflection", "symmetric": "reflection"}
    for sampling in ("bilinear", "nearest"):
        for padding, torch_padding in places.items():
            for align in (True, False):
                if torch_padding == "reflection" and align != (padding == "reflection"):
                    continue  # PyTorch ties the one to the other

                def expected(x, coordinates, settings=(sampling, torch_padding, align)):
                    return F.grid_sample(torch.from_numpy(x), torch.from_numpy(coordinates), *settings).numpy()

                yield sample(
                    f"{sampling}-{padding}{'-align' * align}",
                    IMAGE,
                    points,
                    expected,
                    sampling,
                    padding,
                    align_corners=align,
                )


def sample(label, x, coordinates, expected, sampling, padding, *, opsets=None, **operands):
    operands = {
        "x": x,
        "coordinates": coordinates,
        "sampling_mode": sampling,
        "padding_mode": padding,
        "padding_value": 0.0,
        "coordinates_mode": "normalized_minus_one_to_one",
        "align_corners": True,
    } | operands
    floating = isinstance(coordinates, np.ndarray) and coordinates.dtype.kind == "f"
    return Case(
        "resample",
        operands,
        expected,
        id=label,
        dtypes=(fp32,) if floating and opsets is None else Case.dtypes,  # float16 coordinates came with iOS16
        opsets=opsets,
        **CLOSE,
    )


LINE_OF_3 = np.array([[[[1.0, 2, 4]]]])


def along(*positions):
    """Coordinates of one row of points on an image of one row."""
    return np.array([[[[p, 0.0] for p in positions]]])


def affine(label, matrix, height, width, expected, x=SMALL, **operands):
    operands = {
        "x": x,
        "transform_matrix": np.array(matrix),
        "output_height": height,
        "output_width": width,
        "sampling_mode": "bilinear",
        "padding_mode": "constant",
        "padding_value": 0.0,
        "coordinates_mode": "normalized_minus_one_to_one",
        "align_corners": True,
    } | operands
    return Case("affine", operands, expected, id=label, **CLOSE)


def grid_sampled(height, width, align):
    """An affine image by PyTorch."""

    def expected(x, transform_matrix):
        matrices = torch.from_numpy(transform_matrix).reshape(-1, 2, 3).expand(len(x), 2, 3)
        points = F.affine_grid(matrices, (*x.shape[:2], height, width), align)
        return F.grid_sample(torch.from_numpy(x), points, "bilinear", "zeros", align).numpy()

    return expected


def cut(label, boxes, sizes, expected, x=TENS, images=None, **operands):
    """``crop_resize`` in the forms of both its generations; ``expected`` is [N, C, h, w]."""
    boxes, expected = np.array(boxes, dtype=float), np.array(expected, dtype=float)
    common = {"x": x, "target_height": sizes[0], "target_width": sizes[1]} | operands
    old = boxes if images is None else np.column_stack((images, boxes))
    yield Case(
        "crop_resize",
        {**common, "roi": Fixed(old.reshape(len(old), 1, -1, 1, 1))},
        expected[:, np.newaxis],
        id=f"{label}-roi",
        opsets=(iOS16,) if "pad_value" in operands else (iOS15, iOS16),
        **CLOSE,
    )
    indices = Typed(np.zeros(len(boxes)) if images is None else images, int32)
    yield Case(
        "crop_resize", {**common, "boxes": boxes, "box_indices": indices}, expected, id=label, opsets=SINCE_17, **CLOSE
    )


def ramp(rows, columns):
    """What lies in ``TENS`` at rows and columns: it is linear."""
    return (1 + 4 * np.array(rows, dtype=float)[:, np.newaxis] + np.array(columns, dtype=float))[np.newaxis]


UNIT = {"normalized_coordinates": True}
CORNERS = {"sampling_mode": "ALIGN_CORNERS"}

CASES = [
    *grids(),
    Case(
        "resize_bilinear",
        {"x": IMAGE, "target_size_height": 3, "target_size_width": 9, "sampling_mode": "UNALIGN_CORNERS"},
        interpolated("bilinear", (3, 9), align_corners=False),
        id="half-pixel",
        **CLOSE,
    ),
    Case(
        "resize_bilinear",
        {"x": IMAGE, "target_size_height": 11, "target_size_width": 2, "sampling_mode": "STRICT_ALIGN_CORNERS"},
        interpolated("bilinear", (11, 2), align_corners=True),
        id="corners",
        **CLOSE,
    ),
    Case("resize_bilinear", {"x": LONGER}, [[[0]]], id="default-size"),
    Case(
        "resize_nearest_neighbor",
        {"x": IMAGE, "target_size_height": 3, "target_size_width": 11},
        interpolated("nearest-exact", (3, 11)),
    ),
    Case(
        "resize_nearest_neighbor",
        {"x": np.array([[[1.0, 2]]]), "target_size_height": 2, "target_size_width": 3},
        [[[1, 2, 2], [1, 2, 2]]],
        id="middle-on-an-edge",
    ),
    *[
        Case(
            "upsample_nearest_neighbor",
            {"x": IMAGE, "scale_factor_height": tall, "scale_factor_width": wide},
            interpolated("nearest", (int(7 * tall), int(5 * wide))),
            id=f"{tall}-{wide}",
        )
        for tall, wide in [(2, 3), (1.5, 2.5), (0.5, 1.0)]
    ],
    Case(
        "upsample_nearest_neighbor",
        {"x": np.array([[[[1.5, -2.5, 3.5]]]]), "scale_factor_height": 3.17, "scale_factor_width": 0.67},
        np.tile([[[[1.5, -2.5]]]], (3, 1)),
        id="odd-factors",
    ),
    # 0.7 in float32 lies under 0.7, its product with 10 rounds to 7
    Case(
        "upsample_nearest_neighbor",
        {"x": np.arange(10.0).reshape(1, 1, 10), "scale_factor_width": 0.7},
        [[[0, 1, 2, 4, 5, 7, 8]]],
        id="size-rounds-in-float32",
    ),
    Case("upsample_nearest_neighbor", {"x": IMAGE}, lambda x: x, id="default"),
    *[
        Case(
            "upsample_bilinear",
            {"x": IMAGE, "scale_factor_height": tall, "scale_factor_width": wide, "align_corners": align},
            interpolated("bilinear", (int(7 * tall), int(5 * wide)), align_corners=align),
            id=f"{tall}-{wide}{'-align' * align}",
            **CLOSE,
        )
        for tall, wide in [(2, 3), (1.5, 0.75)]
        for align in (True, False)
    ],
    Case("upsample_bilinear", {"x": LINE, "scale_factor_width": 3}, [[GRIDS["ALIGN_CORNERS"][1]]], id="default"),
    *[
        Case(
            "upsample_bilinear",
            {"x": LINE, "scale_factor_width": 3, "align_corners": align, "half_pixel_centers": centred},
            [[GRIDS[mode][1]]],
            id=f"{'align' if align else 'unaligned'}-{'centred' if centred else 'uncentred'}",
            opsets=SINCE_16,
        )
        for align, centred, mode in [
            (False, True, "UNALIGN_CORNERS"),
            (False, False, "DEFAULT"),
            (True, False, "ALIGN_CORNERS"),
            (True, True, "ALIGN_CORNERS"),
        ]
    ],
    Case(
        "resize",
        {"x": eighths(1, 2, 3, 4, 5), "shape": [5, 2, 7], "resized_dims": 3, "sampling_mode": "UNALIGN_CORNERS"},
        interpolated("trilinear", (5, 2, 7), align_corners=False),
        id="three-axes",
        **CLOSE,
    ),
    Case(
        "resize",
        {"x": IMAGE, "shape": Typed([9, 9, 0, 11], int32), "resized_dims": 2, "interpolation_mode": "NEAREST_NEIGHBOR"},
        interpolated("nearest-exact", (7, 11)),
        id="nearest-size-at-run-time",
    ),
    Case(
        "resize",
        {"x": LONGER, "shape": Fixed([7], int16), "resized_dims": 1, "interpolation_mode": "NEAREST_NEIGHBOR"}
        | {"sampling_mode": "STRICT_ALIGN_CORNERS"},
        [[[0, 1, 1, 2, 2, 3, 3]]],
        id="nearest-corners-ties-go-up",
    ),
    # at 0, 1/3 and 2/3 between the two: 2³⁰ away from what float32 holds; then 1/3 of the way from -1 to 1
    Case(
        "resize",
        {"x": np.array([[2**31 - 1, 2**31 - 4], [-1, 1]], np.int32), "shape": [4], "resized_dims": 1}
        | {"sampling_mode": "STRICT_ALIGN_CORNERS"},
        [[2**31 - 1, 2**31 - 2, 2**31 - 3, 2**31 - 4], [-1, 0, 0, 1]],
        id="integers",
    ),
    Case("resize", {"x": IMAGE, "shape": [1], "resized_dims": 0}, lambda x: x, id="no-axis"),
    Case(
        "crop",
        {"x": IMAGE, "crop_height": [1, 2], "crop_width": [0, 3]},
        lambda x: x[:, :, 1:5, :2],
        ulp=0,
    ),
    *cut("inside", [[1, 1, 2, 2]], (2, 2), [ramp([1, 2], [1, 2])], **CORNERS),
    *cut("enlarged", [[1, 1, 2, 2]], (4, 3), [ramp(np.linspace(1, 2, 4), [1, 1.5, 2])], **CORNERS),
    *cut("turned", [[2, 2, 1, 0]], (2, 3), [ramp([2, 1], [2, 1, 0])], **CORNERS),
    *cut("one-point", [[1, 1, 2, 2]], (1, 1), [ramp([1.5], [1.5])], **CORNERS),
    *cut("one-point-strict", [[1, 1, 2, 2]], (1, 1), [ramp([1], [1])], sampling_mode="STRICT_ALIGN_CORNERS"),
    *cut("two-boxes", [[0, 0, 3, 3], [1, 0, 2, 1]], (2, 2), [ramp([0, 3], [0, 3]), ramp([1, 2], [0, 1])], **CORNERS),
    *cut("default", [[0, 1, 3, 2]], (2, 4), [ramp([0, 2], [1, 1.5, 2, 2])]),  # the grid is clamped to the box
    *cut("offset", [[1, 0, 3, 3]], (2, 2), [ramp([1.5, 2.5], [0.75, 2.25])], sampling_mode="OFFSET_CORNERS"),
    *cut("offset-small", [[1, 1, 1.5, 1.5]], (1, 1), [ramp([1.5], [1.5])], sampling_mode="OFFSET_CORNERS"),
    *cut("unaligned", [[0, 1, 3, 2]], (2, 2), [ramp([0.5, 2.5], [1, 2])], sampling_mode="UNALIGN_CORNERS"),
    *cut(
        "unaligned-outside",
        [[2, 2, 1, 1]],
        (2, 2),
        [ramp([0.5, 2.5], [0.5, 2.5])],
        sampling_mode="UNALIGN_CORNERS",
        **UNIT,
    ),
    *cut("normalized", [[0, 0, 0.5, 0.5]], (2, 2), [ramp([0, 1.5], [0, 1.5])], **CORNERS, **UNIT),
    *cut("scaled", [[2, 0, 4, 6]], (2, 2), [ramp([1, 2], [0, 3])], **CORNERS, spatial_scale=0.5),
    *cut(
        "width-first",
        [[0, 1, 3, 2]],
        (2, 2),
        [ramp([1, 2], [0, 3])],
        **CORNERS,
        box_coordinate_mode="CORNERS_WIDTH_FIRST",
    ),
    *cut(
        "centred",
        [[1, 1.5, 2, 1]],
        (2, 2),
        [ramp([0, 2], [1, 2])],
        **CORNERS,
        box_coordinate_mode="CENTER_SIZE_HEIGHT_FIRST",
    ),
    *cut(
        "centred-width-first",
        [[1.5, 1, 1, 2]],
        (2, 2),
        [ramp([0, 2], [1, 2])],
        **CORNERS,
        box_coordinate_mode="CENTER_SIZE_WIDTH_FIRST",
    ),
    *cut("outside", [[0.25, 0.5, 1.25, 1]], (2, 2), [[[[5.5, 7], [0, 0]]]], **CORNERS, **UNIT),
    *cut("outside-filled", [[0.25, 0.5, 1.25, 1]], (2, 2), [[[[5.5, 7], [10, 10]]]], **CORNERS, **UNIT, pad_value=10.0),
    *cut(
        "of-images",
        [[1, 1, 2, 2], [0, 0, 1, 1]],
        (2, 2),
        [ramp([1, 2], [1, 2]) + 100, ramp([0, 1], [0, 1])],
        x=np.concatenate((TENS, TENS + 100)),
        images=[1, 0],
        **CORNERS,
    ),
    Case(
        "crop_resize",
        {
            "x": np.concatenate((TENS, TENS + 100)),
            "roi": Fixed(np.array([1.0, 1, 2, 2]).reshape(1, 1, 4, 1, 1)),
            "target_height": 2,
            "target_width": 2,
            **CORNERS,
        },
        [[ramp([1, 2], [1, 2]), ramp([1, 2], [1, 2]) + 100]],
        id="roi-of-every-image",
        opsets=(iOS15, iOS16),
    ),
    Case(
        "crop_resize",
        {"x": TENS, "boxes": Typed([[1, 1, 2, 2]], uint16), "target_height": 2, "target_width": 2, **CORNERS},
        [ramp([1, 2], [1, 2])],
        id="integer-boxes-of-the-first-images",
        opsets=SINCE_17,
    ),
    *samples(),
    *[
        sample(label, LINE_OF_3, along(*points), [[[values]]], "bilinear", padding, coordinates_mode="unnormalized")
        for label, padding, points, values in [
            ("border-by-hand", "border", (-1, 0.5, 1.5, 3, np.nan), (1, 1.5, 3, 4, 1)),
            ("reflection-by-hand", "reflection", (-1, 3, -2.5, 4.5, np.nan), (2, 2, 3, 1.5, 1)),
            ("symmetric-by-hand", "symmetric", (-0.5, -1.5, 3.5, 5.5), (1, 1.5, 3, 1)),
        ]
    ],
    sample(
        "padding-value",
        LINE_OF_3,
        along(-0.5, 2.5, 5, np.nan, np.inf),
        [[[[4.5, 6, 8, 8, 8]]]],
        "bilinear",
        "constant",
        coordinates_mode="unnormalized",
        padding_value=8.0,
    ),
    sample(
        "ties-go-to-the-even",
        LINE_OF_3,
        along(0.5, 1.5),
        [[[[1, 4]]]],
        "nearest",
        "border",
        coordinates_mode="unnormalized",
        opsets=SINCE_16,
    ),
    *[
        sample(
            f"zero-to-one{'-align' * align}",
            LINE_OF_3,
            along(0, 0.25, 0.5, 1),
            [[[values]]],
            "bilinear",
            "border",
            coordinates_mode="normalized_zero_to_one",
            align_corners=align,
        )
        for align, values in [(True, (1, 1.5, 2, 4)), (False, (1, 1.25, 2, 4))]
    ],
    *[
        sample(
            f"{dtype}-coordinates",
            LINE_OF_3,
            Typed([[[[0, 0], [2, 0]]]], dtype),
            [[[[1, 4]]]],
            "bilinear",
            "border",
            coordinates_mode="unnormalized",
            opsets=opsets,
        )
        for dtype, opsets in [(int32, (iOS15, iOS26)), (uint16, SINCE_17)]
    ],
    affine("identity", [[1.0, 0, 0, 0, 1, 0]], 3, 3, [[[[11, 16.5, 22], [22, 27.5, 33], [33, 38.5, 44]]]]),
    affine("half-outside", [[1.0, 0, 1, 0, 1, 0]], 2, 2, [[[[16.5, 11], [38.5, 22]]]]),
    *[
        affine(
            f"{len(matrix)}-matrices{'-align' * align}",
            matrix,
            4,
            3,
            grid_sampled(4, 3, align),
            IMAGE,
            align_corners=align,
        )
        for matrix in (eighths(2, 6) / 2, eighths(1, 6))
        for align in (True, False)
    ],
    affine("one-pixel", [[1.0, 0, 0, 0, 1, 0]], 1, 1, lambda x, **_: x[:, :, 3:4, 2:3], IMAGE),
]
