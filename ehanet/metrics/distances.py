"""Surfaces of masks and the exact Euclidean distances between them.

The surface of a mask is the mask minus its erosion by the 4-neighbour cross, what lies beyond the image counting as outside,
so pixels of the mask at the image border are surface. A surface pixel is a point at its centre. Maurer et al. 2003 is the
transform behind ``scipy.ndimage.distance_transform_edt``: squared distances are integers, the roots are exact to float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import distance_transform_edt


class Nearest(NamedTuple):
    """For every pixel of an image the nearest pixel of a set: its distance (H, W) and its place (2, H, W)."""

    distance: np.ndarray
    place: np.ndarray


def surface(mask: np.ndarray) -> np.ndarray:
    """Surface pixels of a boolean mask (H, W): those with a 4-neighbour outside of the mask or of the image."""
    inner = np.zeros_like(mask)
    core = inner[1:-1, 1:-1]
    np.logical_and(mask[:-2, 1:-1], mask[2:, 1:-1], out=core)
    core &= mask[1:-1, :-2]
    core &= mask[1:-1, 2:]
    return mask & ~inner


def nearest_pixel(pixels: np.ndarray) -> Nearest:
    """Distance from each pixel of the image to the nearest True of ``pixels`` (H, W, at least one True), and where that is."""
    place = distance_transform_edt(~pixels, return_distances=False, return_indices=True)
    rows = place[0] - np.arange(pixels.shape[0], dtype=np.int32)[:, None]
    columns = place[1] - np.arange(pixels.shape[1], dtype=np.int32)
    return Nearest(np.sqrt((rows * rows + columns * columns).astype(np.float64)), place)


def bounding_box(mask: np.ndarray) -> tuple[slice, slice]:
    """Smallest box (rows, columns) that holds every True of a mask (H, W) with at least one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def surface_distances(prediction: np.ndarray, label: np.ndarray, nearest: Nearest | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Distances in pixels between the surfaces of two boolean masks (H, W), neither of them empty.

    Args:
        nearest: ``nearest_pixel(surface(label))`` where the caller has it already.

    Returns:
        from each surface pixel of the prediction to the label's surface, and from each of the label's to the prediction's.
    """
    # No distance asked for leaves the box of both masks, and none is changed by cutting it out.
    box = bounding_box(prediction | label)
    ours, theirs = surface(prediction[box]), surface(label[box])
    to_label = nearest.distance[box] if nearest is not None else distance_transform_edt(~theirs)
    return to_label[ours], distance_transform_edt(~ours)[theirs]


def surface_distances_mm(prediction: np.ndarray, label: np.ndarray, spacing: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """``surface_distances`` in millimetres, for pixels of ``spacing`` = (height, width) in millimetres."""
    box = bounding_box(prediction | label)
    ours, theirs = surface(prediction[box]), surface(label[box])
    return distance_transform_edt(~theirs, sampling=spacing)[ours], distance_transform_edt(~ours, sampling=spacing)[theirs]
