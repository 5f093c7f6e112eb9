# ruff: noqa: E501
# One case a line: the tables are read across.
"""Layers agree with PyTorch: products, convolution, pooling, resizing, normalisation, attention, recurrence."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gristmill.frontends.torch import lower
from gristmill.frontends.torch.torchvision import declare_operators
from gristmill.ir.opset import iOS15, iOS17, iOS18
from tests.frontends.torch.harness import Case, agree, bools, case, exported, floats, ints, run

X, A, B = floats(2, 3, 4), floats(3, 4), floats(4, 5)
B3, W3 = floats(3), floats(2, 4, 4)
IMAGE, SOUND, VOLUME = floats(2, 4, 7, 9), floats(2, 4, 11), floats(1, 2, 5, 6, 7)
SUMS = 1e-5  # long sums: √K of the tolerance of one rounding

PRODUCTS = [
    case("linear", lambda x: F.linear(x, A, B3), X),
    case("linear of a vector", lambda x: F.linear(x, A), floats(4)),
    case("linear by an input", F.linear, X, A),
    case("matmul", lambda x, y: (x @ y, x[0] @ y, x[0, 0] @ y, x @ y[:, 0], x[0, 0] @ y[:, 0]), X, B),
    case("matmul broadcasts", lambda x, y: x @ y, floats(2, 1, 3, 4), floats(5, 4, 2)),
    case("matmul of ints", lambda x: x @ x.T, ints(3, 4)),
    case("addmm", lambda x: (torch.addmm(x[:, :1], x, B, beta=0.5, alpha=2), torch.addmm(x[0, 0], x, B)), A),
    case("baddbmm", lambda x: torch.baddbmm(x[:, :, :1], x, x.mT, beta=2), X),
    case("outer", lambda x: (torch.outer(x[0], x[1]), torch.dot(x[0], x[1]), torch.mv(x, x[0])), A),
    case("addbmm addr", lambda x: (torch.addbmm(torch.ones(3, 3), x, x.mT), torch.addr(x[0], x[0, :, 0], x[0, 0])), X),
    case("bilinear", lambda x: F.bilinear(x, x, W3), A),
    case("vecdot", lambda x: torch.linalg.vecdot(x, x.flip(1)), A),
    *(
        case(f"einsum {equation}", lambda *v, equation=equation: torch.einsum(equation, *v), *values)
        for equation, values in {
            "ij,jk->ik": (A, B),
            "bij,bkj->bik": (X, X),
            "bhqd,bhkd->bhqk": (floats(2, 3, 4, 5), floats(2, 3, 6, 5)),
            "ij->ji": (A,),
            "ii->i": (floats(3, 3),),
            "ij->": (A,),
            "i,j->ij": (floats(3), floats(4)),
            "...ij,...jk->...ik": (X, floats(4, 2)),
            "ij,jk,kl->il": (A, B, floats(5, 2)),
            "bi,ij,bj->b": (floats(2, 3), A, floats(2, 4)),
            "ij,ij": (A, A),
            "abc,cb->a": (X, floats(4, 3)),
        }.items()
    ),
]  # fmt: skip

CONVOLUTIONS = [
    case("conv1d", nn.Conv1d(4, 6, 3, stride=2, padding=1), SOUND, tolerance=SUMS),
    case("conv2d", nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), IMAGE, tolerance=SUMS),
    case("conv3d", nn.Conv3d(2, 3, 3, padding=1, bias=False), VOLUME, tolerance=SUMS),
    case("grouped", nn.Conv2d(4, 8, 3, groups=2), IMAGE, tolerance=SUMS),
    case("depthwise", nn.Conv2d(4, 4, 3, groups=4), IMAGE, tolerance=SUMS),
    case("same", nn.Conv2d(4, 6, (3, 5), padding="same", dilation=(1, 2)), IMAGE, tolerance=SUMS),
    case("reflecting", nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), IMAGE, tolerance=SUMS),
    case("without batch", nn.Conv2d(4, 6, 3), IMAGE[0], tolerance=SUMS),
    case("weight from an input", F.conv2d, IMAGE, floats(3, 4, 2, 2), tolerance=SUMS),
    case("weight norm", nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 6, 3)), SOUND, tolerance=SUMS),
    case("transposed 1d", nn.ConvTranspose1d(4, 3, 3, stride=2), SOUND, tolerance=SUMS),
    case("transposed 2d", nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1), IMAGE, tolerance=SUMS),
    case("transposed far", nn.ConvTranspose2d(4, 6, 2, stride=3, output_padding=(2, 1)), IMAGE, tolerance=SUMS),
    case("transposed grouped", nn.ConvTranspose2d(4, 6, 3, groups=2, dilation=2), IMAGE, tolerance=SUMS),
    case("transposed 3d", nn.ConvTranspose3d(2, 3, 2, stride=2), VOLUME, tolerance=SUMS),
    case("unfold", lambda x: F.unfold(x, (2, 3), dilation=2, padding=1, stride=2), IMAGE),
    case("fold", lambda x: F.fold(x, (5, 6), (2, 3), padding=1, stride=2), floats(1, 12, 9)),
]

POOLING = [
    case("max", lambda x: (F.max_pool2d(x, 2), F.max_pool2d(x, 3, 2, 1), F.max_pool2d(x, (2, 3), ceil_mode=True)), IMAGE),
    case("max 1d 3d", lambda x, y: (F.max_pool1d(x, 3, 2), F.max_pool3d(y, 2, 2, 1, ceil_mode=True)), SOUND, VOLUME),
    case("max dilated", lambda x: F.max_pool2d(x, 3, 2, 1, dilation=2), IMAGE),
    case("max without batch", lambda x: F.max_pool2d(x, 2), IMAGE[0]),
    case("average", lambda x: (F.avg_pool2d(x, 2), F.avg_pool2d(x, 3, 2, 1), F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)), IMAGE),
    case("average ceil", lambda x: (F.avg_pool2d(x, 3, 2, 1, ceil_mode=True), F.avg_pool2d(x, 4, 3, 1, ceil_mode=True, count_include_pad=False)), IMAGE),
    case("average divisor", lambda x: F.avg_pool2d(x, 3, 2, 1, divisor_override=5), IMAGE),
    case("average 1d 3d", lambda x, y: (F.avg_pool1d(x, 3, 2, 1), F.avg_pool3d(y, 3, 2, 1, ceil_mode=True)), SOUND, VOLUME),
    case("adaptive average", lambda x: (F.adaptive_avg_pool2d(x, 1), F.adaptive_avg_pool2d(x, (3, 4)), F.adaptive_avg_pool2d(x, (7, 3)), F.adaptive_avg_pool2d(x, (None, 2))), IMAGE),
    case("adaptive max", lambda x, y: (F.adaptive_max_pool2d(x, 1), F.adaptive_max_pool2d(x, (3, 4)), F.adaptive_max_pool1d(y, 5)), IMAGE, SOUND),
    case("lp", lambda x: F.lp_pool2d(x.abs(), 2, 3), IMAGE, tolerance=SUMS),
]  # fmt: skip

RESIZING = [
    *(
        case(f"{mode} {size} {corners}", lambda x, mode=mode, size=size, corners=corners: F.interpolate(x, mode=mode, align_corners=corners, **size), image, tolerance=SUMS)
        for mode, image in {"nearest": IMAGE, "nearest-exact": IMAGE, "bilinear": IMAGE, "bicubic": IMAGE, "linear": SOUND, "trilinear": VOLUME}.items()
        for size in ({"scale_factor": 2.0}, {"scale_factor": 1.6}, {"scale_factor": 0.5}, {"size": 13})
        for corners in ((None,) if "nearest" in mode else (False, True))
    ),
    case("by two factors", lambda x: F.interpolate(x, scale_factor=(2.0, 3.0)), IMAGE),
    case("smooth bilinear", lambda x: F.interpolate(x, size=(3, 4), mode="bilinear", antialias=True), IMAGE, tolerance=SUMS),
    case("smooth bicubic", lambda x: F.interpolate(x, size=(5, 20), mode="bicubic", antialias=True), IMAGE, tolerance=SUMS),
    *(
        case(f"grid_sample {mode} {padding} {corners}", lambda x, g, m=mode, p=padding, c=corners: F.grid_sample(x, g, m, p, c), IMAGE, floats(2, 3, 5, 2, low=-1.4, high=1.4), tolerance=SUMS)
        for mode in ("bilinear", "nearest") for padding in ("zeros", "border", "reflection") for corners in (True, False)
    ),
    case("affine_grid", lambda t: F.affine_grid(t, [2, 3, 4, 5], align_corners=False), floats(2, 2, 3)),
]  # fmt: skip


def _trained(module):
    """Statistics and factors that are not the trivial ones."""
    generator = torch.Generator().manual_seed(3)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + (0.5 if "var" in name else 0))
    return module


NORMALISATION = [
    case("batch norm", _trained(nn.BatchNorm2d(4)), IMAGE),
    case("batch norm 1d", _trained(nn.BatchNorm1d(4)), SOUND),
    case("batch norm of vectors", _trained(nn.BatchNorm1d(4)), floats(3, 4)),
    case("batch norm by the batch", nn.BatchNorm2d(4, track_running_stats=False), IMAGE, tolerance=SUMS),
    case("instance norm", _trained(nn.InstanceNorm2d(4, affine=True)), IMAGE, tolerance=SUMS),
    case("instance norm of volumes", nn.InstanceNorm3d(2), VOLUME, tolerance=SUMS),
    case("instance norm by statistics", _trained(nn.InstanceNorm1d(4, track_running_stats=True)), SOUND),
    case("layer norm", _trained(nn.LayerNorm((3, 4))), X, tolerance=SUMS),
    case("layer norm without factors", lambda x: F.layer_norm(x, (4,)), X, tolerance=SUMS),
    case("layer norm by an input", lambda x, w: F.layer_norm(x, (4,), w), X, floats(4), tolerance=SUMS),
    case("group norm", _trained(nn.GroupNorm(2, 4)), IMAGE, tolerance=SUMS),
    case("rms norm", _trained(nn.RMSNorm(4)), X, tolerance=SUMS),
    case("local response", nn.LocalResponseNorm(3), IMAGE, tolerance=SUMS),
]


@pytest.mark.parametrize("case", [*PRODUCTS, *CONVOLUTIONS, *POOLING, *RESIZING, *NORMALISATION])
def test_agrees_with_pytorch(case):
    agree(case)


Q, K, SCORES = floats(2, 4, 5, 8), floats(2, 4, 7, 8), floats(5, 7)
ATTENTION = {
    "plain": lambda q, k: F.scaled_dot_product_attention(q, k, k),
    "causal": lambda q, k: F.scaled_dot_product_attention(q, q, q, is_causal=True),
    "scaled": lambda q, k: F.scaled_dot_product_attention(q, k, k, scale=0.3),
    "bool mask": lambda q, k: F.scaled_dot_product_attention(q, k, k, attn_mask=torch.ones(5, 7).tril(2).bool()),
    "float mask": lambda q, k: F.scaled_dot_product_attention(q, k, k, attn_mask=SCORES),
    "grouped": lambda q, k: F.scaled_dot_product_attention(q, k[:, :2], k[:, :2], enable_gqa=True),
    "broadcast": lambda q, k: F.scaled_dot_product_attention(q, k[:1], k[:1]),
}


@pytest.mark.parametrize("opset", [iOS17, iOS18])
@pytest.mark.parametrize("name", ATTENTION)
def test_attention(name, opset):
    """Whole where Core ML has the op, as products and a softmax before."""
    program = agree(Case(ATTENTION[name], (Q, K), SUMS, (opset,)))
    whole = any(op.op_name == "scaled_dot_product_attention" for op in program.main.body)
    assert whole == (opset is iOS18 and name != "broadcast")


def test_multi_head_attention():
    module = nn.MultiheadAttention(8, 2, batch_first=True)
    agree(Case(lambda x, m: module(x, x, x, key_padding_mask=m)[0], (floats(2, 5, 8), bools(2, 5) & False), SUMS))


def test_transformer_encoder():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True, activation="gelu")
    agree(Case(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), (floats(2, 5, 8),), SUMS))


@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"bidirectional": True, "num_layers": 2}, {"bias": False}, {"batch_first": True}], ids=str)  # fmt: skip
@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers(layer, options):
    """Every gate's weights and both biases are in their places: the values depend on each."""
    torch.manual_seed(1)
    agree(Case(layer(3, 4, **options), (floats(5, 2, 3),), SUMS, (iOS15, iOS17, iOS18)))


def test_recurrent_layers_take_initial_states():
    torch.manual_seed(1)
    agree(Case(nn.LSTM(3, 4, bidirectional=True), (floats(5, 2, 3), (floats(2, 2, 4), floats(2, 2, 4) + 1)), SUMS))
    agree(Case(nn.GRU(3, 4), (floats(5, 2, 3), floats(1, 2, 4)), SUMS))


@pytest.mark.parametrize("opset", [iOS15, iOS17])
def test_suppression_of_overlapping_boxes(opset):
    """Boxes 0 and 1 overlap by 81/119, boxes 2 and 3 by 1/7; the better of a pair stays, the best comes first."""
    declare_operators()
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 22, 22], [21, 21, 23, 23], [40, 0, 41, 1]])
    scores = torch.tensor([0.5, 0.9, 0.3, 0.7, 0.1])
    for threshold, expected in ((0.5, [1, 3, 2, 4]), (0.1, [1, 3, 4]), (0.7, [1, 3, 0, 2, 4])):
        program = lower(
            exported(lambda b, s, t=threshold: torch.ops.torchvision.nms(b, s, t), boxes, scores), opset=opset
        )
        assert run(program, boxes, scores)[0].tolist() == expected


COMPLEX = [
    case("parts", lambda x, y: (torch.complex(x, y).real, torch.complex(x, y).imag, torch.complex(x, y).abs()), A, A + 1),
    case("arithmetic", lambda x, y: torch.view_as_real((torch.complex(x, y) * torch.complex(y, x) + 2) / torch.complex(x + 3, y)), A, A + 1),
    case("angle", lambda x, y: torch.complex(x, y).angle(), A, A.flip(0)),
    case("conj", lambda x, y: torch.view_as_real(torch.complex(x, y).conj() @ torch.complex(x, y).T), A, A + 1),
    case("polar", lambda x, y: torch.view_as_real(torch.polar(x.abs(), y)), A, A + 1),
    case("fft", lambda x: torch.view_as_real(torch.fft.fft(x, norm="ortho")), floats(3, 10), tolerance=SUMS),
    case("rfft irfft", lambda x: (torch.view_as_real(torch.fft.rfft(x)), torch.fft.irfft(torch.fft.rfft(x), n=11)), floats(3, 11), tolerance=SUMS),
    case("fft2", lambda x: (torch.fft.fft2(x).abs(), torch.fft.ifft2(torch.fft.fft2(x)).real), floats(4, 6), tolerance=SUMS),
    case("stft", lambda x: torch.view_as_real(torch.stft(x, 16, 4, window=torch.hann_window(16), return_complex=True)), floats(2, 60), tolerance=SUMS),
    case("istft", lambda x: torch.istft(torch.stft(x, 16, 4, window=torch.hann_window(16), return_complex=True), 16, 4, window=torch.hann_window(16)), floats(2, 60), tolerance=SUMS),
]  # fmt: skip


@pytest.mark.parametrize("case", COMPLEX)
def test_complex_numbers(case):
    agree(case)
