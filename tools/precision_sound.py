"""Models of sound in ``tools.precision_models``: voice activity, speakers, speech, pitch."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Any

import numpy as np

from tools import real_models
from tools.precision_parts import Real, exported, module_of, noise, voice


def silero() -> Real:
    """Voice activity in a window of 32 ms, with the state of its LSTM."""
    from safetensors.torch import load_file
    from torch import nn

    class Silero(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
            self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
            self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
            self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
            self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
            self.lstm = nn.LSTM(128, 128)
            self.final_conv = nn.Conv1d(128, 1, 1)

        def forward(self, x: Any, h: Any, c: Any) -> tuple[Any, Any, Any]:
            x = self.stft_conv(nn.functional.pad(x, (0, 64), "reflect")[:, None])
            x = (x[:, :129] ** 2 + x[:, 129:] ** 2).sqrt()
            for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
                x = conv(x).relu()
            _, (h, c) = self.lstm(x.permute(2, 0, 1), (h[None], c[None]))
            return self.final_conv(h[0].unsqueeze(-1).relu()).sigmoid().squeeze(1), h[0], c[0]

    network = Silero()
    weights = load_file(next(real_models.fetch("silero").rglob("silero_vad_16k.safetensors")))
    cell = {name: name.replace("lstm_cell.", "lstm.") + "_l0" for name in weights if name.startswith("lstm_cell.")}
    network.load_state_dict({cell.get(name, name): weight for name, weight in weights.items()})
    return exported(network, {"x": voice(576)[None], "h": noise(1, 128, scale=0.1), "c": noise(1, 128, scale=0.2)})


def resemblyzer() -> Real:
    """The vector of a speaker, from 160 frames of a mel spectrogram: an LSTM of three layers."""
    import torch
    from torch import nn

    class Speaker(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.linear = nn.LSTM(40, 256, 3, batch_first=True), nn.Linear(256, 256)

        def forward(self, x: Any) -> Any:
            _, (hidden, _) = self.lstm(x)
            x = self.linear(hidden[-1]).relu()
            return x / torch.norm(x, dim=1, keepdim=True)

    weights = next(real_models.fetch("resemblyzer").rglob("pretrained.pt"))
    network = Speaker()
    state = torch.load(weights, weights_only=True, map_location="cpu")["model_state"]
    network.load_state_dict({name: value for name, value in state.items() if name in network.state_dict()})
    return exported(network, {"x": np.abs(noise(1, 160, 40, scale=0.02))})


def whisper() -> Real:
    """The encoder of Whisper tiny.en (Radford et al., 2022), for two seconds instead of thirty."""
    import torch
    from torch import nn

    class Attention(nn.Module):
        def __init__(self, width: int, heads: int) -> None:
            super().__init__()
            self.heads = heads
            self.query, self.key = nn.Linear(width, width), nn.Linear(width, width, bias=False)
            self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

        def forward(self, x: Any) -> Any:
            q, k, v = (
                part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
            )
            return self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    class Block(nn.Module):
        def __init__(self, width: int, heads: int) -> None:
            super().__init__()
            self.attn, self.attn_ln = Attention(width, heads), nn.LayerNorm(width)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
            self.mlp_ln = nn.LayerNorm(width)

        def forward(self, x: Any) -> Any:
            x = x + self.attn(self.attn_ln(x))
            return x + self.mlp(self.mlp_ln(x))

    class Encoder(nn.Module):
        positional_embedding: torch.Tensor

        def __init__(
            self, n_mels: int, n_audio_ctx: int, n_audio_state: int, n_audio_head: int, n_audio_layer: int
        ) -> None:
            super().__init__()
            self.conv1 = nn.Conv1d(n_mels, n_audio_state, 3, padding=1)
            self.conv2 = nn.Conv1d(n_audio_state, n_audio_state, 3, stride=2, padding=1)
            self.register_buffer("positional_embedding", torch.empty(n_audio_ctx, n_audio_state))
            self.blocks = nn.ModuleList(Block(n_audio_state, n_audio_head) for _ in range(n_audio_layer))
            self.ln_post = nn.LayerNorm(n_audio_state)

        def forward(self, x: Any) -> Any:
            gelu = nn.functional.gelu
            x = gelu(self.conv2(gelu(self.conv1(x)))).transpose(1, 2)
            x = x + self.positional_embedding[: x.shape[1]]
            for block in self.blocks:
                x = block(x)
            return self.ln_post(x)

    saved = torch.load(next(real_models.fetch("whisper").rglob("tiny.en.pt")), weights_only=True)
    sizes = ("n_mels", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer")
    network = Encoder(*(saved["dims"][size] for size in sizes))
    state = {k.removeprefix("encoder."): v for k, v in saved["model_state_dict"].items() if k.startswith("encoder.")}
    network.load_state_dict(state)
    return exported(network, {"x": _log_mel(2, 80)})


def torchfcpe() -> Real:
    """Pitch in 100 frames of a spectrogram, by the convolutions of a conformer, without its attention."""
    import torch
    from torch import nn

    class Layer(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.norm, self.before = nn.LayerNorm(width), nn.Conv1d(width, 4 * width, 1)
            self.depthwise = nn.Conv1d(2 * width, 2 * width, 31, padding=15, groups=2 * width)
            self.after = nn.Conv1d(2 * width, width, 1)

        def forward(self, x: Any) -> Any:
            wide = nn.functional.glu(self.before(self.norm(x).transpose(1, 2)), 1)
            return x + self.after(nn.functional.silu(self.depthwise(wide))).transpose(1, 2)

    class Network(nn.Module):
        def __init__(self, bands: int, width: int, layers: int, pitches: int) -> None:
            super().__init__()
            first = nn.Conv1d(bands, width, 3, padding=1), nn.GroupNorm(4, width), nn.LeakyReLU()
            self.input_stack = nn.Sequential(*first, nn.Conv1d(width, width, 3, padding=1))
            self.layers = nn.Sequential(*(Layer(width) for _ in range(layers)))
            self.norm, self.output_proj = nn.LayerNorm(width), nn.Linear(width, pitches)

        def forward(self, x: Any) -> Any:
            x = self.layers(self.input_stack(x.transpose(1, 2)).transpose(1, 2))
            return self.output_proj(self.norm(x)).sigmoid()

    names = {"net.0": "norm", "net.2": "before", "net.4.conv": "depthwise", "net.6": "after"}
    weights = next(real_models.fetch("torchfcpe").rglob("fcpe_c_v001.pt"))
    saved = torch.load(weights, weights_only=True, map_location="cpu")["model"]
    direction, length = saved.pop("output_proj.weight_v"), saved.pop("output_proj.weight_g")
    state = {"output_proj.weight": direction * length / direction.norm(dim=1, keepdim=True)}
    for name, value in saved.items():
        if re.search(r"encoder_layers\.\d+\.norm", name):
            continue  # before attention, which these weights do without
        for theirs, mine in names.items():
            name = name.replace(f"conformer.{theirs}.", f"{mine}.")
        state[name.replace("net.encoder_layers.", "layers.")] = value
    network = Network(128, 512, 6, 360)
    network.load_state_dict({name: state[name] for name in network.state_dict()})
    filters = module_of("torchfcpe", "torchfcpe.mel_fn_librosa").mel(
        sr=16000, n_fft=1024, n_mels=128, fmin=0, fmax=8000
    )
    window = torch.hann_window(1024)
    spectrum = torch.stft(torch.from_numpy(voice(16000)), 1024, 160, window=window, return_complex=True).abs()
    return exported(network, {"x": np.log(np.maximum(filters @ spectrum.numpy(), 1e-5)).T[None, :100].copy()})


def _log_mel(seconds: float, bands: int) -> np.ndarray:
    """Whisper's spectrogram of a vowel (1, bands, 100 frames a second), as javad computes it."""
    import torch

    spectrogram = module_of("javad", "javad.utils").log_mel_spectrogram
    return np.asarray(spectrogram(torch.from_numpy(voice(int(16000 * seconds))), bands)[None])


def javad() -> Real:
    """Voice activity in 0.64 seconds: convolutions, and their rows weighed by how they align."""
    main = module_of("javad", "javad.main")
    network = main.from_pretrained(checkpoint=next(real_models.fetch("javad").rglob("tiny.pt")))
    return exported(network, {"x": _log_mel(0.64, 64)[None]})


def pesto() -> Real:
    """Pitch, and confidence in it, from 20 frames of a constant-Q transform in decibels."""
    import torch
    from torch import nn

    network = module_of("pesto", "pesto.loader").load_model("mir-1k_g7", step_size=10.0, sampling_rate=16000)

    class Pitch(nn.Module):
        """Its forward pass after the transform, without operations in place."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.confidence, self.crop = network.encoder, network.confidence, network.crop_cqt

        def forward(self, x: Any) -> tuple[Any, Any]:
            x = x * (math.log(10) / 10)
            return self.encoder(self.crop(x)), self.confidence(x.exp().squeeze(1))

    with torch.no_grad():
        decibels = network.preprocessor(torch.from_numpy(voice(3200))[None])[0, :20]
    return exported(Pitch(), {"x": decibels.contiguous().numpy()})


def distillmos() -> Real:
    """How good 1.28 seconds of speech sound: a spectrum with its magnitudes compressed, convolutions, a transformer."""
    import torch
    from torch import nn

    torch.backends.mha.set_fastpath_enabled(False)  # its one operator would hide the layer from the export

    class Quality(nn.Module):
        pe: torch.Tensor
        window: torch.Tensor

        def __init__(self, frames: int, width: int, layers: int) -> None:
            super().__init__()
            channels = (2, 64, 64, 128, 256, 256, 256)
            convolutions: list[nn.Module] = []
            for index, (before, after) in enumerate(pairwise(channels)):
                stride = 2 if index else 1, 2 if index == len(channels) - 2 else 1
                convolutions += [nn.Conv2d(before, after, 3, stride, (0, 1)), nn.LeakyReLU(0.1)]
            self.cnn = nn.Sequential(*convolutions)
            self.norm_input, self.norm = nn.BatchNorm1d(1024), nn.BatchNorm1d(1024)
            self.linear_proj, self.norm_trans = nn.Linear(1024, width), nn.BatchNorm1d(width)
            self.register_buffer("pe", torch.empty(1, frames, width))
            parts = (nn.TransformerEncoderLayer(width, 8, 2 * width, batch_first=True) for _ in range(layers))
            self.layers = nn.Sequential(*parts)
            self.linear1, self.linear2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, 1)
            self.linear3 = nn.Linear(width, 1)
            self.register_buffer("window", torch.hann_window(320), persistent=False)

        def forward(self, x: Any) -> Any:
            x = nn.functional.pad(x / (x.abs().amax(1, keepdim=True) + 1e-8), (80, 80), "reflect")
            x = torch.view_as_real(torch.stft(x, 320, 160, window=self.window, center=False, return_complex=True))
            magnitude = (x**2).sum(-1, keepdim=True).sqrt().clip(1e-12)
            x = self.cnn((magnitude**0.3 * x / magnitude).permute(0, 3, 1, 2)).flatten(1, 2)
            x = self.linear_proj(self.norm(self.norm_input(x)).transpose(1, 2))
            x = self.layers(x + self.pe[:, : x.shape[1]])
            x = self.norm_trans(x.transpose(1, 2)).transpose(1, 2)
            weights = self.linear2(self.linear1(x).relu()).transpose(1, 2).softmax(2)
            return 1 + 4 * self.linear3((weights @ x).squeeze(1)).sigmoid()

    path = next(real_models.fetch("distillmos").rglob("distill_mos_v7.pt"))
    state = {}
    for name, value in torch.load(path, weights_only=True, map_location="cpu")["model"].items():
        for level in ("transformer_pool_attn.", "transformer.", "position_encoding.", "transformer_encoder.", "pool."):
            name = name.replace(level, "")
        state[name.replace("cnn.cnn.", "cnn.")] = value
    network = Quality(384, 200, 7)
    network.load_state_dict(state)
    return exported(network, {"x": voice(20480)[None]})
