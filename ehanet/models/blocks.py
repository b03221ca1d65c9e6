"""Blocks that several of the compared networks share: conv-BN-ReLU, adapters to an encoder, resizing, padding."""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_bn_relu(channels: int, width: int, kernel: int | tuple[int, int] = 3, *, bias: bool = False,
                 stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution padded to keep the size (at stride 1), batch norm, ReLU: (B, channels, H, W) -> (B, width, H, W)."""
    return nn.Sequential(*conv_bn(channels, width, kernel, bias=bias, stride=stride, dilation=dilation), nn.ReLU(inplace=True))


def conv_bn(channels: int, width: int, kernel: int | tuple[int, int] = 3, *, bias: bool = False, stride: int = 1,
            dilation: int = 1) -> nn.Sequential:
    """:func:`conv_bn_relu` without the ReLU."""
    rows, columns = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    padding = (dilation * (rows // 2), dilation * (columns // 2))
    return nn.Sequential(nn.Conv2d(channels, width, kernel, stride, padding, dilation, bias=bias), nn.BatchNorm2d(width))


def bn_relu_conv(channels: int, width: int, stride: int = 1) -> nn.Sequential:
    """Batch norm, ReLU, 3x3 convolution with bias: the order of pre-activation networks (He et al., ECCV 2016)."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, width, 3, stride, padding=1))


def resize(x: Tensor, size: torch.Size, align_corners: bool = False) -> Tensor:
    """Bilinear to the height and width ``size``: x2 on even sizes, and the skip's size on odd ones. Without gradients in the map's own type."""
    widened = x.device.type == "cuda" and torch.is_autocast_enabled("cuda") and not torch.is_grad_enabled()  # and all that the map is joined to
    with torch.autocast("cuda", enabled=False) if widened else nullcontext():
        found = F.interpolate(x, size, mode="bilinear", align_corners=align_corners)
    if found.requires_grad and found.is_contiguous(memory_format=torch.channels_last):
        found.register_hook(_dense)
    return found


def _dense(gradient: Tensor) -> Tensor:
    """A concatenation hands back parts of a wider gradient; the resizing's backward, on a CPU, is ten times slower for these than for a copy."""
    return gradient.contiguous(memory_format=torch.channels_last)


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until height and width divide by ``multiple``; the input where they do already.

    Edge values rather than zeros: a black rim would be an edge that the image does not have.
    """
    bottom, right = (-side % multiple for side in x.shape[2:])
    return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x


def level_adapters(channels: list[int], widths: list[int]) -> nn.ModuleList:
    """What brings an encoder's maps to a decoder's widths: a 1x1 conv, BN, ReLU a level; nothing where all fit already."""
    if channels == widths:
        return nn.ModuleList(nn.Identity() for _ in widths)
    return nn.ModuleList(conv_bn_relu(before, after, 1) for before, after in zip(channels, widths))
