"""The models that are measured, with random weights, their inputs, and what they cost."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peers import nets
from benchmarks.peers.engines import UPDATED

CACHE = 256
"""Positions in the decoder's cache; the step that is measured fills one in the middle."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """A model and one set of inputs.

    Attributes:
        title: For readers.
        module: In evaluation mode; weights are float32 that float16 holds exactly.
        inputs: By name, in the order of the module's arguments; floats are exact in float16 as well.
        outputs: Names of the results in order.
        stateful: The module with its cache as states, for engines that have such. A state has the name of the input
            that it stands for; the output that it stands for has ``UPDATED`` before that.
    """

    title: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: list[str]
    stateful: nn.Module | None = None

    def costs(self) -> dict[str, Any]:
        """Floating-point operations of a run (a multiply-add is two) and parameters; ``read`` are those that it needs.

        Of a table of embeddings a run reads some rows, unless a linear layer shares it.
        """
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.utils.flop_counter import FlopCounterMode

        # The counter knows attention by its matrix products, not the CPU's fused operator.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            self.module(*self.inputs.values())
        every = {id(p): p.numel() for p in self.module.parameters()}
        read = {
            id(p): p.numel()
            for layer in self.module.modules()
            if not isinstance(layer, nn.Embedding)
            for p in layer.parameters(recurse=False)
        }
        return {"flops": counter.get_total_flops(), "parameters": sum(every.values()), "read": sum(read.values())}


def _picture() -> dict[str, Tensor]:
    return {"image": torch.randn(1, 3, 224, 224)}


def _torchvision(name: str, title: str) -> Workload:
    from gristmill.frontends.torch.torchvision import declare_operators

    declare_operators()  # what torchvision's models ask for where its compiled part does not fit PyTorch
    models: Any = importlib.import_module("torchvision.models")  # which has no types
    module: nn.Module = models.get_model(name, weights=None).eval()
    for label, weight in module.named_parameters():
        if label.endswith("layer_scale"):
            # A fresh ConvNeXt scales its blocks by 1e-6: a comparison of outputs would not see them.
            weight.data.fill_(0.1)
        elif not weight.any() and weight.ndim == 2:
            # Nor any block through the last layer of a fresh ViT, which is zero.
            nn.init.normal_(weight, std=0.02)
    _settle(module)
    return Workload(title, module, _picture(), ["scores"])


def _settle(module: nn.Module) -> None:
    """Has batch normalisation divide by the magnitudes that random pictures give, or activations die out or overflow.

    Means are left at zero: what varies around them is small in a random network, and subtracting them would enlarge
    every engine's rounding errors with it.
    """

    def settle(norm: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        norm.get_buffer("running_var").copy_(arguments[0].square().mean((0, 2, 3)))

    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(settle) for norm in norms]
    if norms:
        with torch.no_grad():
            module(torch.randn(4, 3, 224, 224))
    for hook in hooks:
        hook.remove()


def _bert() -> Workload:
    from gristmill.frontends.torch.torchvision import declare_operators

    declare_operators()  # transformers imports torchvision
    import transformers

    encoder = transformers.BertModel(transformers.BertConfig(), add_pooling_layer=False)
    tokens = {"tokens": torch.randint(0, 30522, (1, 128)), "mask": torch.ones(1, 128, dtype=torch.int64)}
    return Workload("BERT-base, 128 tokens", nets.LastHidden(encoder), tokens, ["hidden"])


def _decoder() -> Workload:
    decoder = nets.Decoder(layers=12, width=768, heads=12, vocabulary=50257, length=CACHE)
    names = decoder.cache_names()
    inputs = {"token": torch.tensor([[1234]]), "place": torch.tensor([CACHE // 2])}
    inputs |= {name: torch.randn(decoder.cache_shape) for name in names}
    title = f"GPT-2-size decoder step, cache of {CACHE}"
    outputs = ["logits", *(f"{UPDATED}{name}" for name in names)]
    return Workload(title, decoder, inputs, outputs, nets.StatefulDecoder(decoder))


def _dense(layers: int, width: int) -> Workload:
    module = nets.Dense(layers, width)
    for layer in module:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return Workload(f"MLP, {layers} layers {width}×{width}", module, {"x": torch.randn(1, width)}, ["y"])


def _unet_block() -> Workload:
    inputs = {"x": torch.randn(1, 320, 32, 32), "time": torch.randn(1, 1280), "text": torch.randn(1, 77, 768)}
    return Workload("U-Net block, 320 channels, 32×32", nets.UNetBlock(320, 768, 8), inputs, ["y"])


MODELS: dict[str, Callable[[], Workload]] = {
    "resnet50": lambda: _torchvision("resnet50", "ResNet-50"),
    "mobilenet_v3_large": lambda: _torchvision("mobilenet_v3_large", "MobileNetV3-L"),
    "efficientnet_b0": lambda: _torchvision("efficientnet_b0", "EfficientNet-B0"),
    "convnext_tiny": lambda: _torchvision("convnext_tiny", "ConvNeXt-T"),
    "vit_b_16": lambda: _torchvision("vit_b_16", "ViT-B/16"),
    "bert_base": _bert,
    "mlp_4096": lambda: _dense(8, 4096),
    "gpt2_step": _decoder,
    "mlp_64": lambda: _dense(3, 64),
    "unet_block": _unet_block,
}
"""Builders by the name that the command line knows."""


def build(name: str) -> Workload:
    """The model with weights and inputs that are the same each time."""
    torch.manual_seed(0)
    workload = MODELS[name]()
    workload.module.eval()
    if workload.stateful is not None:
        workload.stateful.eval()
    with torch.no_grad():
        for weight in (*workload.module.parameters(), *workload.module.buffers()):
            if weight.is_floating_point():
                # All engines compute with the very same weights, whatever they store them in.
                weight.copy_(weight.half().float())
    inputs = {k: v.half().float() if v.is_floating_point() else v for k, v in workload.inputs.items()}
    return dataclasses.replace(workload, inputs=inputs)
