"""Blocks that several of the compared networks share: conv-BN-ReLU, adapters to an encoder, resizing, padding."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


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
    """Bilinear to the height and width ``size``: x2 on even sizes, and the skip's size on odd ones; in the map's own type."""
    if x.device.type == "cuda" and torch.is_autocast_enabled("cuda") and not torch.compiler.is_compiling():
        return _Resized.apply(x, tuple(size), align_corners)  # autocast would widen the map, and all that it is joined to
    return with_dense_gradient(F.interpolate(x, size, mode="bilinear", align_corners=align_corners))


def with_dense_gradient(x: Tensor) -> Tensor:
    """``x`` (B, C, H, W), whose gradient its backward pass will get channels last where it lies so itself: kernels take ten times as long for a part of a wider
    gradient, as a concatenation hands it back, and for another order."""
    if x.requires_grad and x.is_contiguous(memory_format=torch.channels_last):
        x.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last))
    return x


class _Resized(torch.autograd.Function):
    """Bilinear resizing of a map (B, C, h, w), with the gradient R^T G K of a gradient G (H x W) for the weights R (H x h) of the rows and K (W x w) of the columns:
    two matrix products, where PyTorch's kernel for a GPU adds up pixel by pixel."""

    @staticmethod
    def forward(ctx, x: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
        ctx.before, ctx.align_corners = x.shape[2:], align_corners
        with torch.autocast(x.device.type, enabled=False):
            return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        (batch, channels, height, width), (h, w) = gradient.shape, ctx.before
        rows, columns = (_linear_weights(*sides, ctx.align_corners, gradient.dtype, gradient.device) for sides in ((h, height), (w, width)))
        found = rows @ gradient.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
        found = found @ columns.T if channels == 1 else columns @ found.view(batch * h, width, channels)
        return found.view(batch, h, w, channels).permute(0, 3, 1, 2), None, None


@cache  # made in the calls before a GPU's recording, which must not hold them
def _linear_weights(before: int, after: int, align_corners: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(before, after): how much of each old pixel is in each new one."""
    return F.interpolate(torch.eye(before, device=device)[None], after, mode="linear", align_corners=align_corners)[0].to(dtype)


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
