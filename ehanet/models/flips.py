"""Test-time augmentation: the mean prediction over the four flips of an image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ehanet.models.output import SegmentationOutput

FLIPS = ((), (2,), (3,), (2, 3))  # axes of (B, C, H, W)


def mean_prediction(network: Callable[[Tensor], SegmentationOutput], images: Tensor, flips: bool) -> tuple[Tensor, Tensor | None]:
    """Probabilities of object and edge (None without an edge branch), both (B, H, W) float32; with ``flips`` the mean over the four flips, each turned back.

    Args:
        images: (B, 3, H, W) floating, in [0, 1].
    """
    objects, edges = [], []
    for axes in FLIPS if flips else FLIPS[:1]:
        out = network(_turned(images, axes))
        objects.append(_turned(out.logits.float().sigmoid(), axes)[:, 0])
        if out.edge is not None:
            edges.append(_turned(out.edge.float(), axes)[:, 1])
    return torch.stack(objects).mean(dim=0), torch.stack(edges).mean(dim=0) if edges else None


def _turned(maps: Tensor, axes: tuple[int, ...]) -> Tensor:
    """``flip`` copies even where there is nothing to turn."""
    return maps.flip(axes) if axes else maps
