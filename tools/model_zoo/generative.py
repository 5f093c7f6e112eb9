"""Diffusion models and other generators."""

from __future__ import annotations

from typing import Any

from tools.model_zoo.registry import architecture, calling

DIFFUSION = "Diffusion and generation"


@architecture("unet_2d_condition", DIFFUSION, "diffusers", size="widths 32 and 64")
def _unet_condition() -> Any:
    import torch
    from diffusers import UNet2DConditionModel

    model = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    call = calling(model, lambda m, x, t, c: m(x, t, c).sample)
    return call, (torch.randn(1, 4, 16, 16), torch.tensor([10]), torch.randn(1, 8, 32))


@architecture("unet_2d", DIFFUSION, "diffusers", size="widths 32 and 64")
def _unet() -> Any:
    import torch
    from diffusers import UNet2DModel

    model = UNet2DModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    return calling(model, lambda m, x, t: m(x, t).sample), (torch.randn(1, 3, 16, 16), torch.tensor([10]))


def _autoencoder() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
    )


@architecture("vae_encoder", DIFFUSION, "diffusers", size="widths 32 and 64")
def _vae_encoder() -> Any:
    import torch

    return calling(_autoencoder(), lambda m, x: m.encode(x).latent_dist.mean), (torch.randn(1, 3, 32, 32),)


@architecture("vae_decoder", DIFFUSION, "diffusers", size="widths 32 and 64")
def _vae_decoder() -> Any:
    import torch

    return calling(_autoencoder(), lambda m, z: m.decode(z).sample), (torch.randn(1, 4, 16, 16),)


@architecture("dit", DIFFUSION, "diffusers", size="2 layers, width 64")
def _dit() -> Any:
    import torch
    from diffusers import DiTTransformer2DModel

    model = DiTTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=16,
        in_channels=4,
        num_layers=2,
        sample_size=8,
        num_embeds_ada_norm=100,
    )
    call = calling(model, lambda m, x, t, c: m(x, timestep=t, class_labels=c).sample)
    return call.eval(), (torch.randn(1, 4, 8, 8), torch.tensor([10]), torch.tensor([3]))


@architecture("sd3_transformer", DIFFUSION, "diffusers", size="2 layers, width 64")
def _sd3() -> Any:
    import torch
    from diffusers import SD3Transformer2DModel

    model = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=4,
        joint_attention_dim=32,
        caption_projection_dim=64,
        pooled_projection_dim=32,
        out_channels=4,
    )
    call = calling(
        model,
        lambda m, x, c, p, t: m(hidden_states=x, encoder_hidden_states=c, pooled_projections=p, timestep=t).sample,
    )
    return call, (torch.randn(1, 4, 8, 8), torch.randn(1, 6, 32), torch.randn(1, 32), torch.tensor([10.0]))


@architecture("consistency_vqvae_decoder", DIFFUSION, "diffusers", size="widths 32 and 64")
def _vq() -> Any:
    import torch
    from diffusers import AutoencoderTiny

    model = AutoencoderTiny(
        encoder_block_out_channels=(16, 16),
        decoder_block_out_channels=(16, 16),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )
    return calling(model, lambda m, z: m.decode(z).sample), (torch.randn(1, 4, 8, 8),)


@architecture("dcgan_generator", DIFFUSION, "torch", size="width 16", small=True)
def _dcgan() -> Any:
    """Transposed convolutions from noise to a picture (Radford, Metz and Chintala, 2016)."""
    import torch
    from torch import nn

    layers: list[nn.Module] = [nn.ConvTranspose2d(32, 64, 4), nn.BatchNorm2d(64), nn.ReLU()]
    for wide, narrow in ((64, 32), (32, 16)):
        layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(16, 3, 4, 2, 1), nn.Tanh()), (torch.randn(1, 32, 1, 1),)


@architecture("unet_segmentation", "Segmentation and depth", "torch", size="widths 8 to 32", small=True)
def _unet_segmentation() -> Any:
    """The U-shaped network with skip connections (Ronneberger, Fischer and Brox, 2015)."""
    import torch
    from torch import nn

    def block(a: int, b: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.Conv2d(b, b, 3, padding=1), nn.ReLU()
        )

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down1, self.down2, self.middle = block(3, 8), block(8, 16), block(16, 32)
            self.up2, self.up1 = nn.ConvTranspose2d(32, 16, 2, 2), nn.ConvTranspose2d(16, 8, 2, 2)
            self.join2, self.join1, self.head = block(32, 16), block(16, 8), nn.Conv2d(8, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            one = self.down1(x)
            two = self.down2(nn.functional.max_pool2d(one, 2))
            three = self.middle(nn.functional.max_pool2d(two, 2))
            joined = self.join2(torch.cat([self.up2(three), two], 1))
            return self.head(self.join1(torch.cat([self.up1(joined), one], 1)))

    return UNet(), (torch.rand(1, 3, 32, 32),)
