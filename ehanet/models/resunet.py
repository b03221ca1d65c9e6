"""ResUNet.

Zhang, Liu, Wang: "Road Extraction by Deep Residual U-Net", IEEE Geoscience and Remote Sensing Letters 15(5), 2018,
doi 10.1109/LGRS.2018.2802944.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ehanet.models.blocks import bn_relu_conv, conv_bn, conv_bn_relu, resize
from ehanet.models.output import SegmentationOutput, check_images
from ehanet.models.registry import register

WIDTHS = [64, 128, 256, 512]


class ResUNet(nn.Module):
    """A U-Net of pre-activation residual units; three levels and a bridge, downsampled by stride.

        x1 = stem(image) (64, H, W) -> x2 (128, H/2) -> x3 (256, H/4) -> bridge (512, H/8)
        d3 = unit([up(bridge), x3]) -> d2 -> d1 (64, H, W) -> 1x1 -> logits (1, H, W)

    up is a transposed 2x2 convolution of unchanged width. The stem is conv-BN-ReLU-conv plus a 3x3 conv of the image.
    Skips of the units are 3x3 convolutions with batch norm, as in the network that the comparisons of the field train;
    the paper's are identities where shapes allow.
    """

    def __init__(self):
        super().__init__()
        first, *deeper = WIDTHS
        self.stem = nn.Sequential(*conv_bn_relu(3, first, bias=True), nn.Conv2d(first, first, 3, padding=1))
        self.stem_skip = nn.Conv2d(3, first, 3, padding=1)
        self.down = nn.ModuleList(ResidualUnit(before, after, stride=2) for before, after in zip(WIDTHS, deeper))
        self.up = nn.ModuleList(nn.ConvTranspose2d(deep, deep, 2, stride=2) for deep in reversed(deeper))
        self.merge = nn.ModuleList(ResidualUnit(deep + skip, skip) for skip, deep in zip(WIDTHS[-2::-1], deeper[::-1]))
        self.head = nn.Conv2d(first, 1, 1)

    def forward(self, images: Tensor) -> SegmentationOutput:
        """(B, 3, H, W) floating in [0, 1], H and W at least 32 -> logits (B, 1, H, W)."""
        check_images(images, self)
        x, skips = self.stem(images) + self.stem_skip(images), []
        for unit in self.down:
            skips.append(x)
            x = unit(x)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips)):
            x = up(x)
            if x.shape != skip.shape:  # an odd size was rounded up on the way down
                x = resize(x, skip.shape[2:])
            x = merge(torch.cat([x, skip], dim=1))
        return SegmentationOutput(self.head(x), [])


class ResidualUnit(nn.Module):
    """conv(ReLU(BN(conv_stride(ReLU(BN(x)))))) + BN(conv_stride(x)), all 3x3 with bias; (B, C, H, W) -> (B, width, ...)."""

    def __init__(self, channels: int, width: int, stride: int = 1):
        super().__init__()
        self.body = nn.Sequential(*bn_relu_conv(channels, width, stride=stride), *bn_relu_conv(width, width))
        self.skip = conv_bn(channels, width, bias=True, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.skip(x)


@register("resunet", note="skips of the units are 3x3 convolutions, in the paper identities where shapes allow; Dice + BCE as in the code that has these skips")
def resunet(pretrained: bool = False) -> ResUNet:
    """ResUNet under its registered name. It has no backbone: ``pretrained`` changes nothing."""
    return ResUNet()
