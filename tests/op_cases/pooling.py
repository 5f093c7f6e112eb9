"""Cases of ``gristmill.ops.pooling``."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from gristmill.ir.opset import iOS16, iOS26
from tests.op_cases.case import Case

AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
GREATEST = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}

SHAPES = {"line": (2, 3, 9), "image": (2, 2, 7, 6), "volume": (1, 2, 5, 4, 6)}


def eighths(*shape):
    """Multiples of 1/8, whose sums float64 holds."""
    return np.random.default_rng(sum(shape)).integers(-16, 17, shape) / 8


def averages():
    """Against PyTorch: window, stride, symmetric padding, whether padding counts, ceiling."""
    grid = [(2, 1, 0, False, False), (3, 2, 1, False, False), (3, 2, 1, True, False), (3, 3, 1, False, True)]
    grid += [(3, 2, 1, True, True), (3, 4, 1, False, True)]
    for name, shape in SHAPES.items():
        rank = len(shape) - 2
        for size, stride, pad, exclude, ceil in grid:
            if ceil and rank == 3:
                continue
            operands = {"x": eighths(*shape), "kernel_sizes": [size] * rank, "strides": [stride] * rank}
            operands |= {"pad_type": "custom", "pad": [pad] * 2 * rank}
            operands |= {"exclude_padding_from_average": exclude, "ceil_mode": ceil}
            settings = (size, stride, pad, ceil, not exclude)
            yield Case(
                "avg_pool",
                operands,
                lambda x, rank=rank, settings=settings: AVERAGE[rank](torch.from_numpy(x), *settings).numpy(),
                id=f"{name}-{size}-{stride}-{pad}{'-exclude' * exclude}{'-ceil' * ceil}",
            )


def greatest():
    """Against PyTorch: window, stride, symmetric padding, ceiling."""
    for name, shape in SHAPES.items():
        rank = len(shape) - 2
        for size, stride, pad, ceil in [(2, 2, 0, False), (3, 1, 1, False), (3, 2, 1, True), (2, 3, 1, True)]:
            if ceil and rank == 3:
                continue
            operands = {"x": eighths(*shape) - 4, "kernel_sizes": [size] * rank, "strides": [stride] * rank}
            operands |= {"pad_type": "custom", "pad": [pad] * 2 * rank, "ceil_mode": ceil}
            settings = (size, stride, pad, 1, ceil)
            yield Case(
                "max_pool",
                operands,
                lambda x, rank=rank, settings=settings: GREATEST[rank](torch.from_numpy(x), *settings).numpy(),
                id=f"{name}-{size}-{stride}-{pad}{'-ceil' * ceil}",
                ulp=0,  # selects
            )


LINE = np.array([[[1.0, 2, 3, 4, 5]]])
PAIRS = {"x": LINE, "kernel_sizes": [2]}
LATER = (iOS16, iOS26)

CASES = [
    *averages(),
    Case("avg_pool", {**PAIRS, "pad_type": "valid"}, [[[1.5, 2.5, 3.5, 4.5]]], id="valid"),
    Case("avg_pool", {**PAIRS, "pad_type": "same"}, [[[1.5, 2.5, 3.5, 4.5, 2.5]]], id="same-pads-behind"),
    Case(
        "avg_pool",
        {**PAIRS, "pad_type": "same_lower", "exclude_padding_from_average": True},
        [[[1, 1.5, 2.5, 3.5, 4.5]]],
        id="same-lower-pads-in-front",
        opsets=LATER,
    ),
    Case(
        "avg_pool",
        {**PAIRS, "pad_type": "custom", "pad": [0, 3]},
        [[[1.5, 2.5, 3.5, 4.5, 2.5, 0, 0]]],
        id="more-behind-than-in-front",
    ),
    Case(
        "avg_pool",
        {**PAIRS, "pad_type": "custom", "pad": [0, 3], "exclude_padding_from_average": True},
        [[[1.5, 2.5, 3.5, 4.5, 5, 0, 0]]],
        id="nothing-to-average",
    ),
    # windows at 0, 3 and 6: the last starts behind the data and stays, because there is no padding
    Case(
        "avg_pool",
        {
            "x": np.arange(1.0, 7).reshape(1, 1, 6),
            "kernel_sizes": [1],
            "strides": [3],
            "pad_type": "valid",
            "ceil_mode": True,
        },
        [[[1, 4, 0]]],
        id="ceil-without-padding",
    ),
    Case("max_pool", {**PAIRS, "pad_type": "valid"}, [[[2, 3, 4, 5]]], id="valid", ulp=0),
    Case("max_pool", {"x": -LINE, "kernel_sizes": [2], "pad_type": "same"}, [[[-1, -2, -3, -4, -5]]], id="same", ulp=0),
    Case(
        "max_pool",
        {"x": -LINE, "kernel_sizes": [2], "pad_type": "same_lower"},
        [[[-1, -1, -2, -3, -4]]],
        id="same-lower",
        opsets=LATER,
        ulp=0,
    ),
    Case(
        "max_pool",
        {"x": np.array([[[1.0, np.nan, 3, -np.inf, -np.inf]]]), "kernel_sizes": [2], "pad_type": "valid"},
        [[[np.nan, np.nan, 3, -np.inf]]],
        id="special",
    ),
    Case(
        "max_pool",
        {**PAIRS, "pad_type": "custom", "pad": [3, 0]},
        [[[-np.inf, -np.inf, 1, 2, 3, 4, 5]]],
        id="nothing-but-padding",
    ),
    *greatest(),
    Case(
        "l2_pool", {"x": np.array([[[3.0, 4, 12, 5]]]), "kernel_sizes": [2], "pad_type": "valid"}, [[[5, 160**0.5, 13]]]
    ),
    Case(
        "l2_pool",
        {
            "x": eighths(2, 2, 7, 6),
            "kernel_sizes": [3, 2],
            "strides": [2, 2],
            "pad_type": "custom",
            "pad": [1, 1, 0, 0],
        },
        lambda x: np.sqrt(F.avg_pool2d(torch.from_numpy(x**2), (3, 2), 2, (1, 0), divisor_override=1).numpy()),
        id="image",
    ),
    Case(
        "l2_pool",
        {"x": np.array([[[3.0, 4, 12]]]), "kernel_sizes": [2], "pad_type": "same_lower"},
        [[[3, 5, 160**0.5]]],
        id="same-lower",
        opsets=LATER,
    ),
]
