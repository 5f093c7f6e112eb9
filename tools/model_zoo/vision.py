"""Image models: classifiers, detectors, segmenters."""

from __future__ import annotations

from functools import partial
from typing import Any

from tools.model_zoo.registry import architecture, calling


def _picture(size: int, batch: int = 1) -> Any:
    import torch

    return torch.rand(batch, 3, size, size)


def _torchvision(name: str, size: int, **kwargs: Any) -> tuple[Any, tuple[Any, ...]]:
    import torchvision

    return torchvision.models.get_model(name, weights=None, **kwargs), (_picture(size),)


def _timm(name: str, size: int, **kwargs: Any) -> tuple[Any, tuple[Any, ...]]:
    import timm

    return timm.create_model(name, pretrained=False, **kwargs), (_picture(size),)


CONVOLUTIONAL = "Convolutional classifiers"
TRANSFORMERS = "Vision transformers and hybrids"
DETECTION = "Detection"
SEGMENTATION = "Segmentation and depth"

# name: (size of the picture, quick enough for the tests)
for _name, (_size, _small) in {
    "alexnet": (224, False),
    "vgg11_bn": (64, False),
    "squeezenet1_1": (96, True),
    "resnet18": (96, True),
    "resnet50": (128, False),
    "resnext50_32x4d": (96, False),
    "wide_resnet50_2": (64, False),
    "densenet121": (64, False),
    "googlenet": (96, False),
    "inception_v3": (128, False),
    "mnasnet1_0": (96, False),
    "shufflenet_v2_x1_0": (96, False),
    "mobilenet_v2": (96, True),
    "mobilenet_v3_large": (96, False),
    "mobilenet_v3_small": (96, False),
    "efficientnet_b0": (96, False),
    "efficientnet_v2_s": (64, False),
    "regnet_y_400mf": (96, False),
    "convnext_tiny": (64, False),
}.items():
    _extra = {"init_weights": False} if _name in ("googlenet", "inception_v3") else {}
    architecture(_name, CONVOLUTIONAL, "torchvision", size=f"{_size}×{_size} pixels", small=_small)(
        partial(_torchvision, _name, _size, **_extra)
    )

for _name, _size in {
    "ghostnet_100": 96,
    "hrnet_w18_small": 96,
    "dla34": 96,
    "repvgg_a0": 96,
    "nfnet_f0": 64,
    "res2net50_26w_4s": 64,
    "cspdarknet53": 64,
    "mixnet_s": 96,
    "fbnetv3_b": 96,
    "tf_efficientnet_lite0": 96,
    "mobilenetv4_conv_small": 96,
    "mobileone_s0": 96,
    "fastvit_t8": 128,
    "convnextv2_atto": 96,
    "edgenext_xx_small": 96,
    "rexnet_100": 96,
}.items():
    architecture(_name, CONVOLUTIONAL, "timm", size=f"{_size}×{_size} pixels")(partial(_timm, _name, _size))

for _name, (_model, _size, _options, _note) in {
    "vit_b_16": ("vit_base_patch16_224", 96, {"img_size": 96, "depth": 4}, "96×96 pixels, 4 of 12 layers"),
    "deit3_small": ("deit3_small_patch16_224", 96, {"img_size": 96, "depth": 4}, "96×96 pixels, 4 of 12 layers"),
    "dinov2_small": ("vit_small_patch14_dinov2", 70, {"img_size": 70, "depth": 4}, "70×70 pixels, 4 of 12 layers"),
    "swin_t": (
        "swin_tiny_patch4_window7_224",
        112,
        {"img_size": 112, "depths": (2, 2, 2, 2)},
        "112×112, 8 of 12 layers",
    ),
    "swinv2_t": (
        "swinv2_tiny_window8_256",
        64,
        {"img_size": 64, "depths": (1, 1, 1, 1)},
        "64×64 pixels, 4 of 12 layers",
    ),
    "maxvit_rmlp_pico": ("maxvit_rmlp_pico_rw_256", 64, {"img_size": 64}, "64×64 pixels"),
    "beit_base": ("beit_base_patch16_224", 64, {"img_size": 64, "depth": 2}, "64×64 pixels, 2 of 12 layers"),
    "mobilevit_xxs": ("mobilevit_xxs", 64, {}, "64×64 pixels"),
    "mobilevitv2_050": ("mobilevitv2_050", 64, {}, "64×64 pixels"),
    "efficientformer_l1": ("efficientformer_l1", 224, {}, ""),
    "levit_128s": ("levit_128s", 224, {}, ""),
    "tiny_vit_5m": ("tiny_vit_5m_224", 224, {}, ""),
    "poolformer_s12": ("poolformer_s12", 64, {}, "64×64 pixels"),
    "mixer_s32": ("mixer_s32_224", 224, {}, ""),
    "coat_tiny": ("coat_lite_tiny", 64, {"img_size": 64}, "64×64 pixels"),
    "pvt_v2_b0": ("pvt_v2_b0", 64, {}, "64×64 pixels"),
    "xcit_nano": ("xcit_nano_12_p16_224", 64, {"img_size": 64, "depth": 4}, "64×64 pixels, 4 of 12 layers"),
    "cait_xxs24": ("cait_xxs24_224", 64, {"img_size": 64, "depth": 4}, "64×64 pixels, 4 of 24 layers"),
    "hiera_tiny": ("hiera_tiny_224", 224, {}, ""),
}.items():
    architecture(_name, TRANSFORMERS, "timm", size=_note)(partial(_timm, _model, _size, **_options))


def _heads(detector: Any) -> Any:
    """What a detector's heads say, before boxes are decoded and suppressed."""
    return calling(detector, lambda m, x: m.head(list(m.backbone(x).values())))


@architecture("ssdlite320_mobilenet_v3", DETECTION, "torchvision", size="heads, before suppression")
def _ssdlite() -> Any:
    import torchvision

    detector = torchvision.models.detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)

    return _heads(detector), (_picture(160),)


@architecture("retinanet_resnet18", DETECTION, "torchvision", size="heads, before suppression; ResNet-18 backbone")
def _retinanet() -> Any:
    from torchvision.models.detection import RetinaNet
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5)
    detector = RetinaNet(backbone, num_classes=11)

    return _heads(detector), (_picture(96),)


def _transformers_vision(model: str, config: str, size: int, options: dict[str, Any]) -> Any:
    import transformers

    made = getattr(transformers, config)(**options)
    return getattr(transformers, model)(made), (_picture(size),)


architecture("yolos_tiny", DETECTION, "transformers", size="128×128 pixels, 4 of 12 layers")(
    partial(
        _transformers_vision,
        "YolosForObjectDetection",
        "YolosConfig",
        128,
        {
            "image_size": [128, 128],
            "hidden_size": 192,
            "num_attention_heads": 3,
            "num_hidden_layers": 4,
            "intermediate_size": 768,
        },
    )
)


@architecture("detr_small", DETECTION, "transformers", size="96×96 pixels, 2 + 2 of 6 + 6 layers, width 64")
def _detr() -> Any:
    import transformers

    backbone = transformers.ResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 32, 64, 64],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage4"],
    )
    layers = {f"{part}_{what}": n for part in ("encoder", "decoder") for what, n in (("layers", 2), ("ffn_dim", 128))}
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        backbone_config=backbone,
        d_model=64,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        **layers,
    )
    return transformers.DetrForObjectDetection(config), (_picture(96),)


architecture("segformer_b0", SEGMENTATION, "transformers", size="64×64 pixels", small=True)(
    partial(_transformers_vision, "SegformerForSemanticSegmentation", "SegformerConfig", 64, {})
)
architecture("dpt_small", SEGMENTATION, "transformers", size="64×64 pixels, 4 layers, width 64")(
    partial(
        _transformers_vision,
        "DPTForDepthEstimation",
        "DPTConfig",
        64,
        {
            "image_size": 64,
            "hidden_size": 64,
            "num_attention_heads": 4,
            "num_hidden_layers": 4,
            "intermediate_size": 128,
            "backbone_out_indices": [0, 1, 2, 3],
            "neck_hidden_sizes": [16, 24, 32, 32],
            "fusion_hidden_size": 32,
            "initializer_range": 0.08,
        },
    )
)

for _name, _model in {
    "deeplabv3_mobilenet_v3": "deeplabv3_mobilenet_v3_large",
    "lraspp": "lraspp_mobilenet_v3_large",
}.items():
    architecture(_name, SEGMENTATION, "torchvision", size="96×96 pixels")(
        partial(_torchvision, _model, 96, weights_backbone=None)
    )
