"""Surfaces of masks and the exact Euclidean distances between them.

The surface of a mask is the mask minus its erosion by the 4-neighbour cross, what lies beyond the image counting as outside,
so pixels of the mask at the image border are surface. A surface pixel is a point at its centre. Maurer et al. 2003 is the
transform behind ``scipy.ndimage.distance_transform_edt``: squared distances are integers, their roots exact to float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

TREE_COST = 8  # a point in the tree costs about as much as so many pixels of the transform


class Nearest(NamedTuple):
    """For every pixel of an image (H, W) the row and the column of the nearest pixel of a set, int32 (H, W) each."""

    row: np.ndarray
    column: np.ndarray

    def squared(self) -> np.ndarray:
        """Squared distance of every pixel to its nearest one: int32 (H, W), exact."""
        height, width = self.row.shape
        rows = self.row - np.arange(height, dtype=np.int32)[:, None]
        columns = self.column - np.arange(width, dtype=np.int32)
        rows *= rows
        columns *= columns
        rows += columns
        return rows

    def distances(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Distances in pixels from the pixels at ``rows`` and ``columns`` (n,) to their nearest ones: float64 (n,)."""
        return np.sqrt(np.square(self.row[rows, columns] - rows) + np.square(self.column[rows, columns] - columns))


def surface(mask: np.ndarray) -> np.ndarray:
    """Surface pixels of a boolean mask (H, W): those with a 4-neighbour outside of the mask or of the image."""
    inner = np.zeros_like(mask)
    core = inner[1:-1, 1:-1]
    np.logical_and(mask[:-2, 1:-1], mask[2:, 1:-1], out=core)
    core &= mask[1:-1, :-2]
    core &= mask[1:-1, 2:]
    return mask & ~inner


def nearest_pixel(pixels: np.ndarray) -> Nearest:
    """For each pixel of the image the nearest True of ``pixels`` (H, W, at least one True)."""
    return Nearest(*distance_transform_edt(~pixels, return_distances=False, return_indices=True))


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
    if nearest is None:
        nearest = nearest_pixel(theirs)
    else:
        top, left = box[0].start, box[1].start
        nearest = Nearest(nearest.row[box] - top, nearest.column[box] - left)
    return nearest.distances(*np.nonzero(ours)), _distances(theirs, ours)


def _distances(pixels: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Distances from each True of ``pixels`` to the nearest True of ``targets``, both (H, W): float64 in row order.

    Exact both ways. Contours are few points in a wide box, where a tree is faster; noise fills the box, where the transform is.
    """
    rows, columns = np.nonzero(pixels)
    count = len(rows) + np.count_nonzero(targets)
    if count * TREE_COST > pixels.size:
        return nearest_pixel(targets).distances(rows, columns)
    tree = cKDTree(np.argwhere(targets), balanced_tree=False, compact_nodes=False)
    return tree.query(np.stack([rows, columns], axis=1))[0]


def surface_distances_mm(prediction: np.ndarray, label: np.ndarray, spacing: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """``surface_distances`` in millimetres, for pixels of ``spacing`` = (height, width) in millimetres."""
    box = bounding_box(prediction | label)
    ours, theirs = surface(prediction[box]), surface(label[box])
    return distance_transform_edt(~theirs, sampling=spacing)[ours], distance_transform_edt(~ours, sampling=spacing)[theirs]
