"""Edge labels from masks: the crisp label of the corrected protocol and the released defect."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def edge_labels(masks: Tensor, width: int = 3) -> Tensor:
    """Morphological gradient: dilation minus erosion by a ``width`` x ``width`` square.

    The border of the image is no edge: dilation and erosion look only at pixels that exist,
    so a mask that fills the image has an empty edge.

    Args:
        masks: (B, 1, H, W), floating or integer, values 0 and 1.
        width: side of the square in pixels, odd and at least 3.  The edge is ``width - 1``
            pixels wide, half of it on each side of the boundary.

    Returns:
        (B, 1, H, W), values 0 and 1, on the device of ``masks``; in its dtype if that is
        floating, otherwise float32.

    Raises:
        ValueError: ``width`` is even or below 3, or ``masks`` is not (B, 1, H, W).
    """
    if isinstance(width, bool) or not isinstance(width, int) or width < 3 or width % 2 == 0:
        raise ValueError(f"width must be an odd whole number of at least 3, got {width!r}")
    masks = _as_floating(masks)
    radius = width // 2
    dilated = F.max_pool2d(masks, width, stride=1, padding=radius)
    eroded = -F.max_pool2d(-masks, width, stride=1, padding=radius)
    return dilated - eroded


def released_edge_labels(masks: Tensor) -> Tensor:
    """The edge labels of the released code: resized bilinearly, then compared with ``== 1``.

    The released code draws a thin edge at the resolution of the original image, shrinks it
    bilinearly to the training size and keeps only pixels that are still exactly 1.  The cache
    holds masks at the training size alone, so the original is stood in for by the mask at twice
    that size (nearest neighbour, which invents no detail): its 3 x 3 edge is shrunk by two and
    compared with 1.  As in the released code, the edges of all but the thinnest structures
    vanish and the edge loss trains on the background alone.

    The other half of the defect is the caller's: the released code augments image and mask but
    not the edge, so pass the masks as they were BEFORE augmentation.

    Args:
        masks: (B, 1, H, W), floating or integer, values 0 and 1, not augmented.

    Returns:
        (B, 1, H, W), values 0 and 1, dtype as for :func:`edge_labels`.

    Raises:
        ValueError: ``masks`` is not (B, 1, H, W).
    """
    masks = _as_floating(masks)
    original = F.interpolate(masks, scale_factor=2, mode="nearest")
    edge = edge_labels(original, width=3)
    # Bilinear by a factor of two with align_corners=False is the mean of 2 x 2 pixels: multiples
    # of 1/4, so the comparison is exact in every floating dtype.
    resized = F.interpolate(edge, size=masks.shape[-2:], mode="bilinear", align_corners=False)
    return (resized == 1).to(masks.dtype)


def _as_floating(masks: Tensor) -> Tensor:
    if masks.ndim != 4 or masks.shape[1] != 1:
        raise ValueError(f"masks must have the shape (B, 1, H, W), got {tuple(masks.shape)}")
    return masks if masks.is_floating_point() else masks.to(torch.float32)
