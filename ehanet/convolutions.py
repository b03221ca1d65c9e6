"""Convolutions that are trained on a CPU: where oneDNN is wrong in bfloat16, and where it is slow in float32 (seen with torch 2.15)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input, conv2d_weight

CHANNELS, PIXELS = 32, 4096  # at least so many, of the input and of the map: below, copying costs what the faster product gains


def prepare_convolutions(model: nn.Module, dtype: torch.dtype) -> None:
    """Change the layers of a network, channels last, that is to be trained on the CPU in ``dtype``; weights, names and results stay.

    In bfloat16, weights' gradients that oneDNN gets wrong on a CPU with AVX-512 BF16, both seldom met:

    - Dilated, unless the input channels are a multiple of 16 and one group: parts of the gradient are left unwritten, so that whatever the memory
      held before is trained on, NaN included; some shapes crash. These layers get the plain order of memory.
    - Not dilated, but padded by more rows than the image has: the kernel's rows that only meet padding are given what lies outside the image in
      memory, instead of zero (rows are counted without a sign in its kernel "full spatial"). These layers compute in float32 where it happens.

    In bfloat16 again, depthwise layers of a stride, see :class:`_WideInputGradient`. In float32 without AVX-512, see :class:`_PlainWeightGradient`.
    """
    for layer in model.modules():
        if dtype == torch.bfloat16 and isinstance(layer, nn.Conv2d) and max(layer.dilation) > 1:
            if layer.groups > 1 or layer.in_channels % 16:
                layer.to(memory_format=torch.contiguous_format)
                layer.register_forward_pre_hook(plain_order)
        elif type(layer) in (nn.Conv2d, _FullPrecisionOfSmallMaps, _StridedDepthwise, _PlainOrderOfLargeMaps):
            layer.__class__ = _kind(layer, dtype)  # a hook can neither switch autocast off around the layer nor give it another gradient


def _kind(layer: nn.Conv2d, dtype: torch.dtype) -> type[nn.Conv2d]:
    if isinstance(layer.padding, str) or layer.padding[0] == 0:
        return nn.Conv2d
    if dtype == torch.bfloat16:
        return _StridedDepthwise if layer.groups == layer.in_channels > 1 and min(layer.stride) > 1 and layer.padding_mode == "zeros" else _FullPrecisionOfSmallMaps
    plain = layer.groups == max(layer.stride) == max(layer.dilation) == 1 and layer.padding_mode == "zeros" and layer.in_channels >= CHANNELS
    return _PlainOrderOfLargeMaps if plain and torch.backends.cpu.get_cpu_capability() == "AVX2" else nn.Conv2d


def plain_order(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A forward pre-hook: what ``layer`` gets lies in the plain order of memory."""
    return tuple(images.contiguous() for images in inputs)


class _FullPrecisionOfSmallMaps(nn.Conv2d):
    def forward(self, images: Tensor) -> Tensor:
        if self.padding[0] <= images.shape[2]:
            return super().forward(images)
        with torch.autocast("cpu", enabled=False):
            return super().forward(images.float())


class _StridedDepthwise(_FullPrecisionOfSmallMaps):
    def forward(self, images: Tensor) -> Tensor:
        narrow = torch.is_autocast_enabled("cpu") and self.padding[0] <= images.shape[2]
        if not narrow or not (images.requires_grad and torch.is_grad_enabled()):
            return super().forward(images)
        dtype = torch.get_autocast_dtype("cpu")
        bias = None if self.bias is None else self.bias.to(dtype)
        return _WideInputGradient.apply(images.to(dtype), self.weight.to(dtype), bias, self.stride, self.padding)


class _WideInputGradient(torch.autograd.Function):
    """A depthwise convolution in bfloat16 whose input's gradient is computed in float32.

    For strides above 1 oneDNN has no fast kernel in bfloat16: for 128 channels to 64 x 64, 8 images, it takes 116 ms where float32 takes 8, and 19 with
    the conversions.
    """

    @staticmethod
    def forward(context, images: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        context.save_for_backward(images, weight)
        context.how = {"stride": stride, "padding": padding, "groups": images.shape[1]}
        return nn.functional.conv2d(images, weight, bias, **context.how)

    @staticmethod
    def backward(context, upstream: Tensor) -> tuple[Tensor | None, ...]:
        images, weight = context.saved_tensors
        of_images, of_weight, of_bias, _, _ = context.needs_input_grad
        return (conv2d_input(images.shape, weight.float(), upstream.float(), **context.how).to(images.dtype) if of_images else None,
                conv2d_weight(images, weight.shape, upstream, **context.how) if of_weight else None,
                upstream.sum(dim=(0, 2, 3)) if of_bias else None, None, None)


class _PlainOrderOfLargeMaps(nn.Conv2d):
    def forward(self, images: Tensor) -> Tensor:
        small, trained = images.shape[2] * images.shape[3] < PIXELS, self.weight.requires_grad and torch.is_grad_enabled()
        if small or not trained or torch.is_autocast_enabled("cpu"):
            return super().forward(images)
        return _PlainWeightGradient.apply(images, self.weight, self.bias, self.padding)


class _PlainWeightGradient(torch.autograd.Function):
    """A convolution whose weights' gradient is computed in the plain order of memory.

    Without AVX-512, oneDNN takes two to three times as long for it with channels last as in the plain order (32 channels and more, maps of
    64 x 64 and more); forward and for the input's gradient channels last is the faster one.
    """

    @staticmethod
    def forward(context, images: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
        context.save_for_backward(images, weight)
        context.padding = padding
        return nn.functional.conv2d(images, weight, bias, padding=padding)

    @staticmethod
    def backward(context, upstream: Tensor) -> tuple[Tensor | None, ...]:
        images, weight = context.saved_tensors
        of_images, _, of_bias, _ = context.needs_input_grad
        padding = context.padding
        return (conv2d_input(images.shape, weight, upstream, padding=padding) if of_images else None,
                conv2d_weight(images.contiguous(), weight.shape, upstream.contiguous(), padding=padding),
                upstream.sum(dim=(0, 2, 3)) if of_bias else None, None)
