"""Cases of ``gristmill.ops.activation``."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import special

from gristmill.ir.opset import iOS17, iOS26
from gristmill.ir.types import fp16, fp32
from tests.op_cases.case import Case, Fixed

X = np.array([[-3.0, -0.5, 0.0], [0.25, 1.0, 6.5]])
WIDE = np.array([-1e4, -90.0, -12.0, -1.5, 0.0, 1e-3, 2.0, 30.0, 1e4])
IMAGE = np.linspace(-2, 2, 2 * 3 * 2 * 2).reshape(2, 3, 2, 2)
PER_CHANNEL = np.array([0.25, -0.5, 2.0])
SPECIAL = np.array([np.nan, np.inf, -np.inf, -0.0])


def along_channels(parameter, x):
    return parameter.reshape(-1, *[1] * (x.ndim - 2))


CASES = [
    Case("clamped_relu", {"x": X, "alpha": 0.5, "beta": 6.0}, [[-1.5, -0.25, 0], [0.25, 1, 6]]),
    Case("elu", {"x": X, "alpha": 0.5}, lambda x: F.elu(torch.from_numpy(x), 0.5).numpy()),
    Case("elu", {"x": WIDE, "alpha": 1.0}, lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1), id="wide"),
    Case("gelu", {"x": X}, lambda x: x * special.ndtr(x), id="exact"),
    Case(
        "gelu",
        {"x": X, "mode": "TANH_APPROXIMATION"},
        lambda x: F.gelu(torch.from_numpy(x), approximate="tanh").numpy(),
        id="tanh",
    ),
    Case("gelu", {"x": X, "mode": "SIGMOID_APPROXIMATION"}, lambda x: x * special.expit(1.702 * x), id="sigmoid"),
    Case("leaky_relu", {"x": X, "alpha": 0.25}, [[-0.75, -0.125, 0], [0.25, 1, 6.5]]),
    Case(
        "leaky_relu",
        {"x": X, "alpha": Fixed(0.25, fp16)},
        [[-0.75, -0.125, 0], [0.25, 1, 6.5]],
        id="alpha-of-another-type",
        opsets=(iOS17, iOS26),
        dtypes=(fp32,),
    ),
    Case("linear_activation", {"x": X, "alpha": 2.0, "beta": -0.5}, [[-6.5, -1.5, -0.5], [0, 1.5, 12.5]]),
    Case(
        "prelu",
        {"x": IMAGE, "alpha": Fixed(PER_CHANNEL)},
        lambda x: F.prelu(torch.from_numpy(x), torch.from_numpy(PER_CHANNEL)).numpy(),
    ),
    Case(
        "prelu",
        {"x": IMAGE[..., 0], "alpha": Fixed(PER_CHANNEL)},
        lambda x: np.where(x > 0, x, x * PER_CHANNEL[:, None]),
        id="rank-3",
    ),
    Case("relu", {"x": X}, [[0, 0, 0], [0.25, 1, 6.5]]),
    Case("relu", {"x": SPECIAL}, [np.nan, np.inf, 0, 0], id="special"),
    Case("relu6", {"x": X}, [[0, 0, 0], [0.25, 1, 6]]),
    Case("relu6", {"x": SPECIAL}, [np.nan, 6, 0, 0], id="special"),
    Case("scaled_tanh", {"x": X, "alpha": 1.5, "beta": 0.5}, lambda x: 1.5 - 3 / (np.exp(x) + 1)),  # tanh(x/2), by exp
    Case("sigmoid", {"x": X}, lambda x: special.expit(x)),
    Case("sigmoid", {"x": WIDE}, lambda x: special.expit(x), id="wide"),
    Case("sigmoid_hard", {"x": X, "alpha": 0.25, "beta": 0.5}, [[0, 0.375, 0.5], [0.5625, 0.75, 1]]),
    Case("silu", {"x": X}, lambda x: F.silu(torch.from_numpy(x)).numpy()),
    Case("silu", {"x": WIDE}, lambda x: x * special.expit(x), id="wide"),
    Case("softmax", {"x": X}, lambda x: special.softmax(x, axis=-1)),
    Case("softmax", {"x": IMAGE, "axis": 1}, lambda x: special.softmax(x, axis=1), id="channels"),
    Case("softmax", {"x": np.array([1e4, 1e4, -1e4])}, [0.5, 0.5, 0], id="no-overflow"),
    Case("softmax", {"x": np.array([[-np.inf, 0.0], [-np.inf, -np.inf]])}, [[0, 1], [np.nan, np.nan]], id="excluded"),
    Case("softmax", {"x": np.zeros((2, 0))}, np.zeros((2, 0)), id="empty"),
    Case("softplus", {"x": X}, lambda x: F.softplus(torch.from_numpy(x), threshold=1e9).numpy()),
    Case("softplus", {"x": WIDE}, lambda x: np.logaddexp(0, x), id="wide"),
    Case(
        "softplus_parametric",
        {"x": IMAGE, "alpha": Fixed(PER_CHANNEL), "beta": Fixed(PER_CHANNEL[::-1])},
        lambda x: along_channels(PER_CHANNEL, x) * np.logaddexp(0, along_channels(PER_CHANNEL[::-1], x) * x),
    ),
    Case("softsign", {"x": X}, [[-0.75, -1 / 3, 0], [0.2, 0.5, 6.5 / 7.5]]),
    Case("thresholded_relu", {"x": X, "alpha": 0.25}, [[0, 0, 0], [0.25, 1, 6.5]]),
]
