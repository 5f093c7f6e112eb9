"""Cases of ``gristmill.ops.normalization``."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from gristmill.ir.opset import iOS15, iOS17, iOS26
from gristmill.ir.types import fp16, fp32
from tests.op_cases.case import Case, Fixed

RNG = np.random.default_rng(7)
X = RNG.normal(size=(2, 3, 4, 5)) * 3 + 1
MEAN, VARIANCE = np.array([0.5, -1.0, 2.0]), np.array([0.25, 4.0, 1.5])
GAMMA, BETA = np.array([2.0, -0.5, 1.25]), np.array([0.125, 1.0, -3.0])
PLANE = {name: RNG.integers(-8, 8, (4, 5)) / 4 for name in ("gamma", "beta")}
STATISTICS = {"mean": Fixed(MEAN), "variance": Fixed(VARIANCE)}
AFFINE = {"gamma": Fixed(GAMMA), "beta": Fixed(BETA)}


def t(array):
    return torch.from_numpy(np.ascontiguousarray(array))


def batch_norm(x, eps=1e-5, **affine):
    return F.batch_norm(t(x), t(MEAN), t(VARIANCE), *map(t, affine.values()), eps=eps).numpy()


def neighbours(x, size, alpha, beta, k):
    """The formula, channel by channel."""
    result = np.empty_like(x)
    for c in range(x.shape[1]):
        window = x[:, max(0, c - size // 2) : c + (size - 1) // 2 + 1]
        result[:, c] = x[:, c] / (k + alpha / size * np.sum(window**2, axis=1)) ** beta
    return result


# At most 120 elements, |x| at most 3 σ, a scale of at most 2: 4·√120·2⁻²⁴·3·2.
SUMS = 1.6e-5

CASES = [
    Case("batch_norm", {"x": X, **STATISTICS}, batch_norm, id="plain"),
    Case(
        "batch_norm",
        {"x": X, **STATISTICS, **AFFINE, "epsilon": 0.5},
        lambda x: batch_norm(x, 0.5, gamma=GAMMA, beta=BETA),
        id="affine",
        float32_sums=3 * 2.0**-24 * 6,  # three roundings of terms up to 6, which may cancel
    ),
    Case("batch_norm", {"x": X[:, :, 0, 0], **STATISTICS}, batch_norm, id="rank-2"),
    Case("batch_norm", {"x": X[..., None], **STATISTICS}, batch_norm, id="rank-5"),
    Case(
        "batch_norm",
        {"x": X, "mean": Fixed(MEAN, fp32), "variance": Fixed(VARIANCE, fp32)},
        batch_norm,
        id="parameters-of-another-type",
        dtypes=(fp16,),
        opsets=(iOS17, iOS26),
    ),
    Case(
        "batch_norm",
        {"x": X, **STATISTICS, "epsilon": Fixed(0.5, fp32)},
        lambda x: batch_norm(x, 0.5),
        id="epsilon-written-out-in-float32",
        dtypes=(fp16,),
        opsets=(iOS15,),
    ),
    Case("instance_norm", {"x": X}, lambda x: F.instance_norm(t(x)).numpy(), id="plain", float32_sums=SUMS),
    Case(
        "instance_norm",
        {"x": X, **AFFINE, "epsilon": 0.5},
        lambda x: F.instance_norm(t(x), weight=t(GAMMA), bias=t(BETA), eps=0.5).numpy(),
        id="affine",
        float32_sums=SUMS,
    ),
    Case("instance_norm", {"x": X[..., 0]}, lambda x: F.instance_norm(t(x)).numpy(), id="rank-3", float32_sums=SUMS),
    Case(
        "l2_norm",
        {"x": X, "epsilon": 0.5},
        lambda x: x / np.sqrt(np.linalg.norm(x.reshape(2, -1), axis=1).reshape(2, 1, 1, 1) ** 2 + 0.5),
    ),
    Case("l2_norm", {"x": X[0]}, lambda x: x / np.sqrt(np.linalg.norm(x.ravel()) ** 2 + 1e-6), id="rank-3"),
    Case(
        "layer_norm",
        {"x": X, "axes": (-1,)},
        lambda x: F.layer_norm(t(x), (5,)).numpy(),
        id="last-axis",
        float32_sums=SUMS,
    ),
    Case("layer_norm", {"x": X}, lambda x: F.layer_norm(t(x), (2, 3, 4, 5)).numpy(), id="all-axes", float32_sums=SUMS),
    Case(
        "layer_norm",
        {"x": X, "axes": (3, 2), "gamma": Fixed(PLANE["gamma"]), "beta": Fixed(PLANE["beta"]), "epsilon": 0.5},
        lambda x: F.layer_norm(t(x), (4, 5), t(PLANE["gamma"]), t(PLANE["beta"]), 0.5).numpy(),
        id="affine-axes-in-any-order",
        float32_sums=SUMS,
    ),
    Case(
        "layer_norm",
        {"x": X, "axes": (1,), "gamma": Fixed(GAMMA)},
        lambda x: np.moveaxis(F.layer_norm(t(np.moveaxis(x, 1, -1)), (3,), t(GAMMA)).numpy(), -1, 1),
        id="middle-axis",
    ),
    Case("layer_norm", {"x": np.full((2, 4), 1000.0), "axes": (1,)}, np.zeros((2, 4)), id="no-variance"),
    Case(
        "local_response_norm",
        {"x": X, "size": 3, "alpha": 0.5, "beta": 0.5, "k": 2.0},
        lambda x: neighbours(x, 3, 0.5, 0.5, 2.0),
    ),
    Case("local_response_norm", {"x": X, "size": 2}, lambda x: F.local_response_norm(t(x), 2).numpy(), id="even-size"),
    Case(
        "local_response_norm",
        {"x": X[0], "size": 3, "alpha": 0.5},
        lambda x: neighbours(x[None], 3, 0.5, 0.75, 1)[0],
        id="rank-3-has-no-batch",
    ),
    Case("local_response_norm", {"x": X, "size": 9}, lambda x: neighbours(x, 9, 1e-4, 0.75, 1), id="wider-than-tensor"),
]
