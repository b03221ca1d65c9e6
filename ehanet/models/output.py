"""What every network of the suite takes and returns."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

MINIMUM_SIZE = 32


class SegmentationOutput(NamedTuple):
    """The one output type of all networks; all maps have the height and width of the input.

    Attributes:
        logits: (B, 1, H, W), the final segmentation logit; its sigmoid is the probability of the object.
        sides: logits of auxiliary outputs, each (B, 1, H, W), coarse to fine; empty where a network has none.
        edge: (B, 2, H, W), softmax probabilities, channel 1 is the edge; ``None`` without an edge branch.
        edge_logits: (B, 2, H, W), the logits of ``edge``, or ``None``.
    """

    logits: Tensor
    sides: list[Tensor]
    edge: Tensor | None = None
    edge_logits: Tensor | None = None


def as_output(network: nn.Module, inputs: tuple, out: Tensor | SegmentationOutput) -> SegmentationOutput:
    """A forward hook: bare logits (B, 1, H, W), as a network of a user's own may return them, become the output type.

    Raises:
        ValueError: anything else; the message says what was expected.
    """
    if isinstance(out, SegmentationOutput):
        return out
    batch, _, height, width = inputs[0].shape
    if not isinstance(out, Tensor) or out.shape != (batch, 1, height, width):
        found = f"a tensor {tuple(out.shape)}" if isinstance(out, Tensor) else f"a {type(out).__name__}"
        raise ValueError(f"{type(network).__name__}: forward returned {found}; expected logits {(batch, 1, height, width)} of an object in images "
                         f"{tuple(inputs[0].shape)}, or a SegmentationOutput")
    return SegmentationOutput(out, [])


def check_images(images: Tensor, network: nn.Module) -> None:
    """Refuse what ``network`` cannot take: it must be (B, 3, H, W), floating, B at least 1, H and W at least 32, and of the type of its weights where no
    autocast converts. Values are not looked at: that would stall a GPU at every step.

    Raises:
        TypeError: not a floating point tensor, or not of the weights' type.
        ValueError: wrong rank, number of channels or size, no image; the message names what was expected.
    """
    if not isinstance(images, torch.Tensor):
        raise TypeError(f"images: expected a torch.Tensor (B, 3, H, W), got {type(images).__name__}")
    if images.ndim != 4:
        raise ValueError(f"images: expected 4 dimensions (B, 3, H, W), got {images.ndim}: {tuple(images.shape)}")
    if images.shape[1] != 3:
        raise ValueError(f"images: expected 3 channels (RGB), got {images.shape[1]} in shape {tuple(images.shape)}")
    if not images.is_floating_point():
        raise TypeError(f"images: expected floating point values in [0, 1], got {images.dtype}; divide uint8 by 255")
    dtype = next((parameter.dtype for parameter in network.parameters()), images.dtype)
    if images.dtype != dtype and not torch.is_autocast_enabled(images.device.type):
        raise TypeError(f"images: expected {dtype} as the network's weights, got {images.dtype}; convert them with images.to({dtype})")
    if images.shape[0] == 0:  # len() would fix the batch of an export
        raise ValueError(f"images: expected at least one image, got shape {tuple(images.shape)}")
    if min(images.shape[2:]) < MINIMUM_SIZE:
        height, width = images.shape[2:]
        raise ValueError(f"images: expected at least {MINIMUM_SIZE} x {MINIMUM_SIZE} pixels, got {height} x {width}")
