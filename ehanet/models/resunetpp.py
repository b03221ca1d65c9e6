"""ResUNet++.

Jha et al.: "ResUNet++: An Advanced Architecture for Medical Image Segmentation", IEEE ISM 2019,
doi 10.1109/ISM46123.2019.00049.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ehanet.losses import LogitLoss, dice_loss
from ehanet.models.blocks import bn_relu_conv, conv_bn, conv_bn_relu
from ehanet.models.output import SegmentationOutput, check_images
from ehanet.models.registry import register
from ehanet.models.resunet import ResidualUnit


class ResUNetPP(nn.Module):
    """Residual units with squeeze-and-excitation, ASPP as bridge and before the head, attention before every merge.

    For ``width`` w:

        x1 = stem (w, H, W) -> x2 (2w, H/2) -> x3 (4w, H/4) -> x4 (8w, H/8) -> bridge = ASPP (16w, H/8)
        d3 = unit([up(attention(x3, bridge)), x3]) (8w, H/4) -> d2 (4w, H/2) -> d1 (2w, H, W) -> ASPP (w) -> 1x1

    up is nearest x2; the bridge keeps the size of x4, so that its attention sees x3 at half size.

    Args:
        width: 16 in the authors' code (4.06 M parameters).
    """

    upsampling = "nearest"

    def __init__(self, width: int = 16):
        super().__init__()
        w1, w2, w3, w4, w5 = (width * 2**level for level in range(5))
        self.stem = nn.Sequential(Residual(_stem(w1), conv_bn(3, w1, 1, bias=True)), Excitation(w1, 8))
        self.down = nn.ModuleList(_excited_unit(before, after, 2) for before, after in ((w1, w2), (w2, w3), (w3, w4)))
        self.bridge = ASPP(w4, w5)
        self.attention = nn.ModuleList(
            Attention(skip, deep, bn_relu_conv(deep, deep)) for skip, deep in ((w3, w5), (w2, w4), (w1, w3))
        )
        self.merge = nn.ModuleList(
            _excited_unit(skip + deep, after) for skip, deep, after in ((w3, w5, w4), (w2, w4, w3), (w1, w3, w2))
        )
        self.head = nn.Sequential(ASPP(w2, w1), nn.Conv2d(w1, 1, 1))

    def forward(self, images: Tensor) -> SegmentationOutput:
        """(B, 3, H, W) floating in [0, 1], H and W at least 32 -> logits (B, 1, H, W)."""
        check_images(images, self)
        x, skips = self.stem(images), []
        for unit in self.down:
            skips.append(x)
            x = unit(x)
        x = self.bridge(x)
        for attention, merge, skip in zip(self.attention, self.merge, reversed(skips)):
            x = F.interpolate(attention(skip, x), skip.shape[2:], mode=self.upsampling)
            x = merge(torch.cat([x, skip], dim=1))
        return SegmentationOutput(self.head(x), [])


class ResUNetPPWide(ResUNetPP):
    """The PyTorch re-implementation that comparisons with 14.48 M parameters seem to have used: twice the width.

    It differs in more than the width: excitation (reduction 16) precedes each downsampling unit, so that the skips are
    not excited; shortcuts are 3x3, the stem's without batch norm; the ASPP concatenates rates 6, 12, 18, with ReLU before
    batch norm; attention is one map for all channels; up is bilinear.
    """

    upsampling = "bilinear"

    def __init__(self, width: int = 32):
        nn.Module.__init__(self)
        w1, w2, w3, w4, w5 = (width * 2**level for level in range(5))
        self.stem = Residual(_stem(w1), nn.Conv2d(3, w1, 3, padding=1))
        self.down = nn.ModuleList(
            nn.Sequential(Excitation(before, 16), ResidualUnit(before, after, stride=2))
            for before, after in ((w1, w2), (w2, w3), (w3, w4))
        )
        self.bridge = ConcatenatedASPP(w4, w5)
        self.attention = nn.ModuleList(
            Attention(skip, deep, nn.Sequential(nn.BatchNorm2d(deep), nn.ReLU(), nn.Conv2d(deep, 1, 1)))
            for skip, deep in ((w3, w5), (w2, w4), (w1, w3))
        )
        self.merge = nn.ModuleList(
            ResidualUnit(skip + deep, after) for skip, deep, after in ((w3, w5, w4), (w2, w4, w3), (w1, w3, w2))
        )
        self.head = nn.Sequential(ConcatenatedASPP(w2, w1), nn.Conv2d(w1, 1, 1))


class Residual(nn.Module):
    """body(x) + skip(x)."""

    def __init__(self, body: nn.Module, skip: nn.Module):
        super().__init__()
        self.body, self.skip = body, skip

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.skip(x)


class Excitation(nn.Module):
    """Squeeze-and-excitation, x * sigmoid(W2 ReLU(W1 average(x))) without biases; (B, C, H, W) unchanged."""

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels // reduction, 1, bias=False), nn.ReLU(inplace=True),
            nn.Conv2d(channels // reduction, channels, 1, bias=False), nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class ASPP(nn.Module):
    """1x1 of the sum of four BN(3x3), dilated by 1, 6, 12, 18; (B, C, H, W) -> (B, width, H, W)."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.branches = nn.ModuleList(conv_bn(channels, width, bias=True, dilation=rate) for rate in (1, 6, 12, 18))
        self.project = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(sum(branch(x) for branch in self.branches))


class ConcatenatedASPP(nn.Module):
    """1x1 of three concatenated BN(ReLU(3x3)), dilated by 6, 12, 18; (B, C, H, W) -> (B, width, H, W)."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, width, 3, padding=rate, dilation=rate), nn.ReLU(inplace=True), nn.BatchNorm2d(width))
            for rate in (6, 12, 18)
        )
        self.project = nn.Conv2d(3 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(torch.cat([branch(x) for branch in self.branches], dim=1))


class Attention(nn.Module):
    """x * gate(pool(f(skip)) + f(x)) with f = 3x3 conv of ReLU of BN; the gate is not squashed by a sigmoid.

    skip (B, c, h, w), x (B, C, ceil(h/2), ceil(w/2)) -> as x.
    """

    def __init__(self, skip: int, channels: int, gate: nn.Module):
        super().__init__()
        self.of_skip = bn_relu_conv(skip, channels)
        self.of_x = bn_relu_conv(channels, channels)
        self.gate = gate

    def forward(self, skip: Tensor, x: Tensor) -> Tensor:
        pooled = F.max_pool2d(self.of_skip(skip), 2, ceil_mode=True)
        return x * self.gate(pooled + self.of_x(x))


def _stem(width: int) -> nn.Sequential:
    return nn.Sequential(*conv_bn_relu(3, width, bias=True), nn.Conv2d(width, width, 3, padding=1))


def _excited_unit(channels: int, width: int, stride: int = 1) -> nn.Sequential:
    """Two pre-activation 3x3 convolutions, a 1x1 conv-BN shortcut, their sum excited with reduction 8."""
    body = nn.Sequential(*bn_relu_conv(channels, width, stride), *bn_relu_conv(width, width))
    return nn.Sequential(Residual(body, conv_bn(channels, width, 1, bias=True, stride=stride)), Excitation(width, 8))


class ResUNetPPLoss(LogitLoss):
    """Dice alone, as the authors train it."""

    @staticmethod
    def region(logits: Tensor, mask: Tensor) -> Tensor:
        return dice_loss(logits.sigmoid(), mask.to(logits.dtype))


@register("resunetpp", loss=ResUNetPPLoss)
def resunetpp(pretrained: bool = False) -> ResUNetPP:
    """ResUNet++ of the authors' width. It has no backbone: ``pretrained`` changes nothing."""
    return ResUNetPP()


@register("resunetpp-wide", loss=ResUNetPPLoss, note="the re-implementation with 14.48 M parameters, which the paper's comparison seems to use")
def resunetpp_wide(pretrained: bool = False) -> ResUNetPPWide:
    """The wide re-implementation. It has no backbone: ``pretrained`` changes nothing."""
    return ResUNetPPWide()
