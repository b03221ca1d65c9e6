"""CANet (not Gu's CA-Net).

Xie et al.: "CANet: Context aware network with dual-stream pyramid for medical image segmentation", Biomedical Signal
Processing and Control 81:104437, 2023, doi 10.1016/j.bspc.2022.104437.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ehanet.losses import LogitLoss
from ehanet.models.blocks import conv_bn, conv_bn_relu, resize
from ehanet.models.output import SegmentationOutput, check_images
from ehanet.models.registry import register

WIDTHS = [32, 64, 128, 256, 512]


class CANet(nn.Module):
    """A U-Net of dilated residual blocks; a pyramid of the input enters after every pooling.

        x_1 = RDB(image) (32, H, W)
        x_{k+1} = RDB(pool(x_k) + MCU(image at 1/2^k)),  k = 1..4      64, 128, 256, 512 channels
        d = context(x_5);  d = convs([up(d), x_k]),  k = 4..1;  logits = 1x1 d

    pool is a 2x2 max-pool, up a transposed 2x2 convolution, convs are three 3x3 conv-BN-ReLU.
    """

    def __init__(self):
        super().__init__()
        first, *deeper = WIDTHS
        self.down = nn.ModuleList(ResidualDilatedBlock(before, after) for before, after in zip([3, *WIDTHS], WIDTHS))
        self.pyramid = nn.ModuleList(MultiKernelUnit(width) for width in WIDTHS[:-1])
        self.context = ChainedPooling(WIDTHS[-1])
        self.up = nn.ModuleList(nn.ConvTranspose2d(deep, skip, 2, stride=2) for skip, deep in zip(WIDTHS[-2::-1], deeper[::-1]))
        self.merge = nn.ModuleList(
            nn.Sequential(*(conv_bn_relu(before, skip, bias=True) for before in (2 * skip, skip, skip)))
            for skip in WIDTHS[-2::-1]
        )
        self.head = nn.Conv2d(first, 1, 1)

    def forward(self, images: Tensor) -> SegmentationOutput:
        """(B, 3, H, W) floating in [0, 1], H and W at least 32 -> logits (B, 1, H, W)."""
        check_images(images, self)
        x, small, skips = self.down[0](images), images, []
        for block, unit in zip(self.down[1:], self.pyramid):
            skips.append(x)
            x = F.max_pool2d(x, 2)
            small = resize(small, x.shape[2:])
            x = block(x + unit(small))
        x = self.context(x)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips)):
            x = up(x)
            if x.shape != skip.shape:  # pooling left the last row or column of an odd size out
                x = resize(x, skip.shape[2:])
            x = merge(torch.cat([x, skip], dim=1))
        return SegmentationOutput(self.head(x), [])


class ResidualDilatedBlock(nn.Module):
    """RDB: ReLU( three 3x3 conv-BN, dilated by 1, 2, 3, ReLU between two, + 1x1 x ); (B, C, h, w) -> (B, width, h, w)."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.body = nn.Sequential(
            conv_bn_relu(channels, width, bias=True), conv_bn_relu(width, width, bias=True, dilation=2),
            conv_bn(width, width, bias=True, dilation=3),
        )
        self.skip = nn.Conv2d(channels, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.body(x) + self.skip(x)).relu()


class MultiKernelUnit(nn.Module):
    """MCU: ReLU( 9x9, 7x7, 3x3 conv-BN, ReLU between two, + 1x1 x ); (B, 3, h, w) -> (B, width, h, w)."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(
            conv_bn_relu(3, width, 9, bias=True), conv_bn_relu(width, width, 7, bias=True), conv_bn(width, width, bias=True)
        )
        self.skip = nn.Conv2d(3, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.body(x) + self.skip(x)).relu()


class ChainedPooling(nn.Module):
    """x + p_1 + p_2 + p_3 with p_0 = x, p_k = 3x3(max-pool 5 of p_{k-1}) at stride 1; (B, C, h, w) unchanged."""

    def __init__(self, channels: int):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        path = x
        for conv in self.convs:
            path = conv(F.max_pool2d(path, 5, stride=1, padding=2))
            x = x + path
        return x


class CANetLoss(LogitLoss):
    """BCE alone, as the authors train it."""

    @staticmethod
    def region(logits: Tensor, mask: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, mask.to(logits.dtype))


@register("canet", loss=CANetLoss, note="input in [0, 1], the authors' in [-1, 1]")
def canet(pretrained: bool = False) -> CANet:
    """CANet under its registered name. It has no backbone: ``pretrained`` changes nothing."""
    return CANet()
