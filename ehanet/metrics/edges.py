"""F1 of a predicted edge map against the label's contour: best threshold over the data set (ODS) and per image (OIS).

As in the Berkeley segmentation benchmark (Martin et al., TPAMI 2004; Arbelaez et al., TPAMI 2011) with a tolerance in pixels; maps are not thinned
and pixels not matched one to one, since the edges that EHANet learns are two pixels wide on purpose: an edge pixel counts as right within the
tolerance of the contour, a contour pixel as found within the tolerance of an edge pixel. F1 is taken of each image and then averaged, where that benchmark
adds up the counts of all images; so the values do not compare with its published ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.ndimage import distance_transform_edt, maximum_filter

from ehanet.metrics.distances import surface
from ehanet.metrics.inputs import check_maps

THRESHOLDS = np.arange(1, 100) / 100


def edge_f1(probabilities: Any, labels: Any, tolerance: float = 2.0) -> pd.Series:
    """Edge F1 over a data set.

    Args:
        probabilities: (N, H, W) floating in [0, 1], the probability of an edge (channel 1 of ``out.edge``).
        labels: (N, H, W) masks, bool or 0/1; their surface is the contour. A contour of one pixel is its own surface and may be given
            instead.
        tolerance: Euclidean distance in pixels.

    Returns:
        ``ods``: mean F1 over images at the one threshold that is best for it; ``ois``: mean over images of each image's best F1;
        ``threshold``: the threshold of ODS, one of 0.01 to 0.99; edges are probability > threshold. An image without edge and contour scores
        1, with only one of them 0.

    Raises:
        ValueError: bad input, naming the image; no images; a tolerance that is negative or not finite.
    """
    curves = edge_f1_curves(probabilities, labels, tolerance)
    if not len(curves):
        raise ValueError("edge_f1 needs at least one image")
    means = curves.mean(axis=0)
    best = int(np.argmax(means))
    return pd.Series({"ods": float(means[best]), "ois": float(curves.max(axis=1).mean()), "threshold": float(THRESHOLDS[best])})


def edge_f1_curves(probabilities: Any, labels: Any, tolerance: float = 2.0) -> np.ndarray:
    """F1 of each image at each of ``THRESHOLDS``: (N, 99). Arguments as in ``edge_f1``."""
    if not 0 <= tolerance < np.inf:
        raise ValueError(f"tolerance must be a finite number of pixels of at least 0, not {tolerance!r}")
    probabilities, labels, ids, _ = check_maps(probabilities, labels)
    curves = np.empty((len(ids), len(THRESHOLDS)))
    for curve, image, label in zip(curves, probabilities, labels, strict=True):
        curve[:] = _image_curve(image, surface(label), tolerance)
    return curves


def _image_curve(probabilities: np.ndarray, contour: np.ndarray, tolerance: float) -> np.ndarray:
    """F1 of one image (H, W) at each threshold.

    A contour pixel is found at a threshold if the largest probability within the tolerance is above it: one maximum filter
    serves all thresholds, and counts above thresholds come from sorted values.
    """
    edges = _count_above(probabilities.ravel())
    if not contour.any():
        return (edges == 0).astype(float)
    near = distance_transform_edt(~contour) <= tolerance
    right = _count_above(probabilities[near])
    reach = int(tolerance)
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disk = x * x + y * y <= tolerance * tolerance
    found = _count_above(maximum_filter(probabilities, footprint=disk, mode="constant", cval=0.0)[contour])
    precision = right / np.maximum(edges, 1)
    recall = found / np.count_nonzero(contour)
    return 2 * precision * recall / np.where(precision + recall > 0, precision + recall, 1.0)


def _count_above(values: np.ndarray) -> np.ndarray:
    """How many values lie above each of ``THRESHOLDS``."""
    return len(values) - np.searchsorted(np.sort(values), THRESHOLDS, side="right")
