"""U-Net.

Ronneberger, Fischer, Brox: "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015,
doi 10.1007/978-3-319-24574-4_28.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ehanet.models.blocks import conv_bn_relu
from ehanet.models.output import SegmentationOutput, check_images
from ehanet.models.registry import register

NOTE = "batch norm, padded convolutions, nearest upsampling and a 3x3 convolution as up-convolution; Dice + BCE, the paper has a weighted cross-entropy"


class UNet(nn.Module):
    """Five levels of two 3x3 conv-BN-ReLU, max-pool down, up-convolution, concatenation with the skip, 1x1.

    As the comparisons of the field build it: padded convolutions, batch norm, and an up-convolution that is a nearest
    x2 and a 3x3 conv-BN-ReLU. For ``width`` w the levels have w, 2w, 4w, 8w, 16w channels:

        x1 (w, H, W) -> x2 (2w, H/2) -> x3 (4w, H/4) -> x4 (8w, H/8) -> x5 (16w, H/16)
        d4 = convs([x4, up(x5)]) -> d3 -> d2 -> d1 (w, H, W) -> 1x1 -> logits (1, H, W)

    Args:
        width: channels of the first level; 64 in the paper (34.53 M parameters).
    """

    def __init__(self, width: int = 64):
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.down = nn.ModuleList(_two_convs(before, after) for before, after in zip([3, *widths[:-1]], widths))
        self.up = nn.ModuleList(conv_bn_relu(deep, skip, bias=True) for skip, deep in zip(widths[-2::-1], widths[:0:-1]))
        self.merge = nn.ModuleList(_two_convs(2 * skip, skip) for skip in widths[-2::-1])
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, images: Tensor) -> SegmentationOutput:
        """(B, 3, H, W) floating in [0, 1], H and W at least 32 -> logits (B, 1, H, W)."""
        check_images(images, self)
        x, skips = self.down[0](images), []
        for convs in self.down[1:]:
            skips.append(x)
            x = convs(F.max_pool2d(x, 2))
        for up, merge, skip in zip(self.up, self.merge, reversed(skips)):
            x = up(F.interpolate(x, skip.shape[2:], mode="nearest"))  # x2, or the skip's size where that was odd
            x = merge(torch.cat([skip, x], dim=1))
        return SegmentationOutput(self.head(x), [])


def _two_convs(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(conv_bn_relu(channels, width, bias=True), conv_bn_relu(width, width, bias=True))


@register("unet", note=NOTE)
def unet(pretrained: bool = False) -> UNet:
    """U-Net of the paper's width. It has no backbone: ``pretrained`` changes nothing."""
    return UNet(64)


@register("unet-32", note=NOTE)
def unet_32(pretrained: bool = False) -> UNet:
    """U-Net of half the width and a quarter of the cost, for laptops."""
    return UNet(32)
