"""Where a segmentation errs, told by the distance to the label's contour.

The signed distance of a pixel is to the contour, which lies half-way between the last pixel inside and the first one outside: -0.5, -1.5, ... for
the rings inside, 0.5, 1.5, ... outside, exact Euclidean distances in between.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import distance_transform_edt, label as connected

from ehanet.metrics.boundaries import BAND_SHARE

KINDS = ("missed", "spurious", "boundary")
_NEIGHBOURS = np.ones((3, 3), bool)  # an object is connected over edges and corners


class ErrorCounts(NamedTuple):
    """Of each image (N, 2 reach): ``wrong`` pixels and all ``pixels`` whose signed distance lies in [place - 0.5, place + 0.5) of ``places`` (2 reach,)."""

    places: np.ndarray
    wrong: np.ndarray
    pixels: np.ndarray


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """Distance of every pixel to the contour of a boolean mask (H, W), in pixels, negative inside: float64 (H, W).

    Raises:
        ValueError: the mask is empty or fills the image, so that there is no contour.
    """
    if mask.all() or not mask.any():
        raise ValueError("a mask that is empty or fills the image has no contour")
    return np.where(mask, 0.5 - distance_transform_edt(mask), distance_transform_edt(~mask) - 0.5)


def errors_by_distance(predictions: np.ndarray, labels: np.ndarray, reach: int) -> ErrorCounts:
    """Count wrong pixels in rings one pixel wide around the label's contour, up to ``reach`` pixels on either side.

    Args:
        predictions, labels: boolean (N, H, W). An image whose label has no contour counts nowhere.
    """
    wrong, pixels = np.zeros((2, len(labels), 2 * reach))
    for index, (prediction, label) in enumerate(zip(predictions, labels)):
        if label.all() or not label.any():
            continue
        ring = np.floor(signed_distance(label)).astype(int) + reach
        near = (ring >= 0) & (ring < 2 * reach)
        pixels[index] = np.bincount(ring[near], minlength=2 * reach)
        wrong[index] = np.bincount(ring[near & (prediction != label)], minlength=2 * reach)
    return ErrorCounts(np.arange(-reach, reach) + 0.5, wrong, pixels)


def error_rates(wrong: np.ndarray, pixels: np.ndarray, clusters: np.ndarray, resamples: int = 2000, seed: int = 0) -> np.ndarray:
    """Wrong pixels over all pixels of all images, with the 95 % percentile bootstrap interval over clusters of images.

    Args:
        wrong, pixels: (N, K), as in :class:`ErrorCounts`. clusters: (N,) what was drawn together, 0 to G - 1, such as patients.

    Returns:
        (3, K): rate, low, high; NaN where there are no pixels. The same seed draws the same images for every method.
    """
    number = int(clusters.max()) + 1
    sums = np.zeros((2, number, wrong.shape[1]))
    for place, counts in enumerate((wrong, pixels)):
        np.add.at(sums[place], clusters, counts)
    drawn = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), size=resamples).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = (drawn @ sums[0]) / (drawn @ sums[1])
        rate = sums[0].sum(axis=0) / sums[1].sum(axis=0)
    out = np.full((3, wrong.shape[1]), np.nan)
    out[0] = rate
    known = ~np.isnan(resampled).all(axis=0)
    out[1:, known] = np.nanquantile(resampled[:, known], [0.025, 0.975], axis=0)
    return out


def error_kinds(prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
    """What kind of error each wrong pixel is: uint8 (H, W), 0 where the pixel is right, else 1 + its place in ``KINDS``.

    A pixel that the prediction lacks is *missed* if it belongs to an object of which nothing was found, or lies deeper inside than the boundary
    band; one that it has too many is *spurious* if it belongs to a piece that touches no object, or lies farther outside than the band.
    Every other wrong pixel is a *boundary* error. The band is that of boundary IoU, 2 % of the diagonal and at least one pixel, on both sides of the contour.

    Args:
        prediction, label: boolean (H, W); objects and pieces are 8-connected.
    """
    band = max(1, round(BAND_SHARE * np.hypot(*label.shape)))
    kinds = np.zeros(label.shape, np.uint8)
    lacking, extra = label & ~prediction, prediction & ~label
    deep = distance_transform_edt(label) > band if label.any() and not label.all() else label  # a label that fills the image has no contour
    far = distance_transform_edt(~label) > band if label.any() else ~label
    kinds[lacking | extra] = 1 + KINDS.index("boundary")
    kinds[lacking & (deep | _untouched(label, prediction))] = 1 + KINDS.index("missed")
    kinds[extra & (far | _untouched(prediction, label))] = 1 + KINDS.index("spurious")
    return kinds


def kind_shares(prediction: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Share of each of ``KINDS`` among the wrong pixels of an image, summing to 1; all 0 where nothing is wrong."""
    counts = np.bincount(error_kinds(prediction, label).ravel(), minlength=1 + len(KINDS))[1:]
    return {kind: float(count / max(counts.sum(), 1)) for kind, count in zip(KINDS, counts)}


def main_kind(shares: dict[str, float]) -> str:
    """The kind with the largest share, the first of ``KINDS`` where two are equal; "none" where nothing is wrong."""
    return max(KINDS, key=lambda kind: shares[kind]) if any(shares.values()) else "none"


def _untouched(pieces: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pixels of those connected pieces of a mask in which the other mask has no pixel."""
    numbered, count = connected(pieces, _NEIGHBOURS)
    touched = np.zeros(count + 1, bool)
    touched[numbered[other]] = True
    return pieces & ~touched[numbered]
