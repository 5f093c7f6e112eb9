"""Speech and audio models."""

from __future__ import annotations

from typing import Any

from tools.model_zoo.registry import architecture, calling

SPEECH = "Speech and audio"


def _transformers(model: str, config: str, options: dict[str, Any]) -> Any:
    import transformers

    return getattr(transformers, model)(getattr(transformers, config)(**options))


_WAVE = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "conv_dim": [32, 32, 32],
    "conv_stride": [5, 2, 2],
    "conv_kernel": [10, 3, 3],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


def _waveform(samples: int) -> Any:
    import torch

    return torch.randn(1, samples, generator=torch.Generator().manual_seed(0)) * 0.1


@architecture("wav2vec2", SPEECH, "transformers", size="2 layers, width 64")
def _wav2vec2() -> Any:
    return _transformers("Wav2Vec2Model", "Wav2Vec2Config", _WAVE), (_waveform(1600),)


@architecture("hubert", SPEECH, "transformers", size="2 layers, width 64")
def _hubert() -> Any:
    return _transformers("HubertModel", "HubertConfig", _WAVE), (_waveform(1600),)


@architecture("whisper_encoder", SPEECH, "transformers", size="2 layers, width 64, 1 second")
def _whisper_encoder() -> Any:
    import torch

    options = {"d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 128}
    options |= {"num_mel_bins": 80, "max_source_positions": 50, "decoder_layers": 2, "decoder_attention_heads": 4}
    return _transformers("WhisperModel", "WhisperConfig", options).encoder, (torch.randn(1, 80, 100),)


@architecture("audio_spectrogram_transformer", SPEECH, "transformers", size="2 layers, width 64")
def _ast() -> Any:
    import torch

    options = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    options |= {"max_length": 128, "num_mel_bins": 64}
    return _transformers("ASTModel", "ASTConfig", options), (torch.randn(1, 128, 64),)


def _codec() -> Any:
    return _transformers(
        "DacModel", "DacConfig", {"encoder_hidden_size": 8, "decoder_hidden_size": 64, "downsampling_ratios": [2, 4]}
    )


@architecture("dac_encoder", SPEECH, "transformers", size="width 8, 2 stages")
def _dac_encoder() -> Any:
    import torch

    return _codec().encoder, (torch.randn(1, 1, 640),)


@architecture("dac_decoder", SPEECH, "transformers", size="width 64, 2 stages")
def _dac_decoder() -> Any:
    import torch

    model = _codec()
    return model.decoder, (torch.randn(1, model.config.hidden_size, 20),)


@architecture("hifigan", SPEECH, "transformers", size="width 32")
def _hifigan() -> Any:
    import torch

    model = _transformers(
        "SpeechT5HifiGan", "SpeechT5HifiGanConfig", {"upsample_initial_channel": 32, "initializer_range": 0.2}
    )
    return model, (torch.randn(1, 20, 80),)


@architecture("vits", SPEECH, "transformers", size="flow only; 2 layers, width 32")
def _vits() -> Any:
    import torch

    options = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "ffn_dim": 64,
        "flow_size": 32,
        "vocab_size": 40,
    }
    model = _transformers("VitsModel", "VitsConfig", options)

    call = calling(model.flow, lambda m, x, mask: m(x, mask, reverse=True))
    return call, (torch.randn(1, 32, 20), torch.ones(1, 1, 20))


@architecture("conv_tasnet_style", SPEECH, "torch", size="4 blocks, width 32", small=True)
def _tasnet() -> Any:
    """Separation by dilated depthwise convolutions over a learned basis (Luo and Mesgarani, 2019)."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, dilation: int) -> None:
            super().__init__()
            self.net = nn.Sequential(
                nn.Conv1d(32, 64, 1),
                nn.PReLU(),
                nn.GroupNorm(1, 64),
                nn.Conv1d(64, 64, 3, padding=dilation, dilation=dilation, groups=64),
                nn.PReLU(),
                nn.GroupNorm(1, 64),
                nn.Conv1d(64, 32, 1),
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.net(x)

    class Separator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode = nn.Conv1d(1, 32, 16, stride=8)
            self.blocks = nn.Sequential(*(Block(2**i) for i in range(4)))
            self.mask = nn.Conv1d(32, 64, 1)
            self.decode = nn.ConvTranspose1d(32, 1, 16, stride=8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            basis = self.encode(x)
            masks = torch.sigmoid(self.mask(self.blocks(basis))).unflatten(1, (2, 32))
            parts = (masks * basis[:, None]).flatten(0, 1)
            return self.decode(parts).unflatten(0, (-1, 2))

    return Separator(), (torch.randn(1, 1, 800),)


@architecture("crnn_spectrogram", SPEECH, "torch", size="width 32")
def _crnn() -> Any:
    """A short-time Fourier transform, convolutions and a bidirectional GRU, as keyword spotters have them."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("window", torch.hann_window(256))
            self.conv = nn.Sequential(
                nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 3, 2, 1)
            )
            self.gru = nn.GRU(8 * 33, 32, bidirectional=True, batch_first=True)
            self.head = nn.Linear(64, 12)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            spectrum = torch.stft(x, 256, 128, window=self.window, return_complex=True)
            features = self.conv(torch.log1p(spectrum.abs())[:, None]).permute(0, 3, 1, 2).flatten(2)
            return self.head(self.gru(features)[0].mean(1))

    return Net(), (_waveform(2048),)
