"""Scores of salient-object detection, on the probability map itself: S-measure, E-measure, weighted F, MAE.

The definitions are those of PySODMetrics with ``normalize=False``, which follow the authors' MATLAB code; where a definition is
discontinuous (a constant quadrant, a probability on the rim of a histogram bin) the same operations run in the map's own
precision, so that rounding falls on the same side.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.ndimage import correlate1d

from ehanet.metrics.distances import Nearest, bounding_box, nearest_pixel, surface
from ehanet.metrics.regions import binarise

EPS = np.spacing(1)
LEVELS = 256  # thresholds k / 255, k = 0 to 255
_PIXEL_KERNEL = np.exp(-(np.arange(-3, 4) ** 2) / (2 * 5.0**2))  # one axis of the 7 x 7 Gaussian with sigma 5
_PIXEL_KERNEL /= _PIXEL_KERNEL.sum()


def saliency_scores(probabilities: np.ndarray, label: np.ndarray, nearest: Nearest | None = None) -> dict[str, float]:
    """The columns s_measure, e_measure (mean of its curve), weighted_f and mae of one image.

    Args:
        probabilities: (H, W) float32 or float64 in [0, 1].
        label: boolean (H, W).
        nearest: ``nearest_pixel(surface(label))`` where the caller has it already.
    """
    return {
        "s_measure": s_measure(probabilities, label),
        "e_measure": float(e_measure_curve(probabilities, label).mean()),
        "weighted_f": weighted_f(probabilities, label, nearest),
        "mae": float(np.mean(np.abs(probabilities - label))),
    }


def s_measure(probabilities: np.ndarray, label: np.ndarray, alpha: float = 0.5) -> float:
    """Structure measure of a map (H, W), Fan et al., ICCV 2017: alpha S_object + (1 - alpha) S_region, at least 0.

    S_object weighs 2 m / (m^2 + 1 + s) of the foreground (m, s: mean and deviation of the map there) and of the inverted map on
    the background by their areas. S_region weighs a structural similarity of the four quadrants around the label's centroid
    by their areas. A label of one class is scored by the mean of the map. A quadrant without pixels counts nothing (a centroid in
    the last row or column; PySODMetrics gives NaN).
    """
    area = label.size
    labelled = np.count_nonzero(label)
    if labelled == 0:
        return float(1 - np.mean(probabilities))
    if labelled == area:
        return float(np.mean(probabilities))
    wide = probabilities.astype(np.float64)
    inside = wide[label]
    sums = np.array([inside.sum(), inside @ inside]), np.array([wide.sum(), np.vdot(wide, wide)])
    objects = labelled / area * _object_similarity(labelled, *sums[0])
    background = area - labelled
    total, squares = sums[1] - sums[0]
    # the inverted map 1 - p, from the sums of p
    objects += background / area * _object_similarity(background, background - total, background - 2 * total + squares)
    return float(max(0.0, alpha * objects + (1 - alpha) * _region_similarity(probabilities, wide, label)))


def _object_similarity(count: int, total: float, squares: float) -> float:
    """2 m / (m^2 + 1 + s) of one class, from the number of its values, their sum and the sum of their squares; s = 0 for one value."""
    mean = total / count
    variance = (squares - total * mean) / (count - 1) if count > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + np.sqrt(max(variance, 0.0)) + EPS)


def _region_similarity(probabilities: np.ndarray, wide: np.ndarray, label: np.ndarray) -> float:
    """Structural similarity of the four quadrants around the label's centroid, weighted by their areas; ``wide`` is the map in float64."""
    height, width = label.shape
    weight_y, weight_x = np.count_nonzero(label, axis=1), np.count_nonzero(label, axis=0)
    total = weight_y.sum()
    # the cut lies behind the rounded centroid: MATLAB's range 1:X holds X
    y = int(np.round(weight_y @ np.arange(height) / total)) + 1
    x = int(np.round(weight_x @ np.arange(width) / total)) + 1
    similarity = 0.0
    for rows in (slice(0, y), slice(y, height)):
        for columns in (slice(0, x), slice(x, width)):
            part = label[rows, columns]
            if part.size:
                # the mean in the map's own precision, so that a constant quadrant deviates from it as in PySODMetrics
                mean = np.mean(probabilities[rows, columns])
                similarity += part.size / label.size * _structural_similarity(wide[rows, columns] - mean, mean, part)
    return similarity


def _structural_similarity(from_x: np.ndarray, x: float, label: np.ndarray) -> float:
    """4 x y s_xy / ((x^2 + y^2)(s_x + s_y)) of means x, y and (co)variances; 1 where both are constant and one is 0.

    ``from_x`` is the map minus its mean x; rounding may leave it a sum other than 0.
    """
    freedom = label.size - 1 + EPS
    labelled = np.count_nonzero(label)
    y = labelled / label.size
    spread_x = np.vdot(from_x, from_x) / freedom
    spread_y = (labelled * (1 - y) ** 2 + (label.size - labelled) * y**2) / freedom
    together = (np.vdot(from_x, label.astype(np.float64)) - y * from_x.sum()) / freedom if 0 < y < 1 else 0.0
    numerator = 4 * x * y * together
    denominator = (x**2 + y**2) * (spread_x + spread_y)
    if numerator != 0:
        return float(numerator / (denominator + EPS))
    return 1.0 if denominator == 0 else 0.0


def threshold_counts(probabilities: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (256,) at probability >= k / 255 for k = 0 to 255: inside the label, and outside.

    Probabilities are cut to 8 bits first, floor(255 p) in their own precision, as the PNG files of the original tools are.
    """
    level = (probabilities * 255).astype(np.uint8)
    everywhere = np.bincount(level.ravel(), minlength=LEVELS)
    inside = np.bincount(level[label], minlength=LEVELS)
    inside, outside = (np.cumsum(counts[::-1])[::-1] for counts in (inside, everywhere - inside))
    return inside, outside


def e_measure_curve(probabilities: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Enhanced-alignment measure, Fan et al., IJCAI 2018, at the thresholds k / 255: (256,), k ascending.

    phi = 2 a b / (a^2 + b^2) of the binary map a and the label b, each minus its mean; E = sum (phi + 1)^2 / 4 / (pixels - 1). phi takes
    four values, one for each pairing of the classes, so counts suffice. A label of one class scores the share predicted as it.
    """
    size, labelled = label.size, np.count_nonzero(label)
    inside, outside = threshold_counts(probabilities, label)
    predicted = inside + outside
    if labelled == 0:
        return (size - predicted) / (size - 1 + EPS)
    if labelled == size:
        return predicted / (size - 1 + EPS)
    map_mean, label_mean = predicted / size, labelled / size
    counts = np.stack([inside, outside, labelled - inside, size - labelled - outside])
    a = np.stack([1 - map_mean, 1 - map_mean, -map_mean, -map_mean])
    b = np.array([1 - label_mean, -label_mean, 1 - label_mean, -label_mean])[:, None]
    alignment = 2 * a * b / (a * a + b * b + EPS)
    return ((alignment + 1) ** 2 / 4 * counts).sum(axis=0) / (size - 1 + EPS)


def weighted_f(probabilities: np.ndarray, label: np.ndarray, nearest: Nearest | None = None) -> float:
    """Weighted F-measure of a map (H, W) with beta = 1, Margolin et al., CVPR 2014; ``nearest`` as in ``saliency_scores``.

    The error E = |p - g| of a labelled pixel may be lowered to its Gaussian neighbourhood's, where background takes the error
    of its nearest labelled pixel; on background it weighs B = 2 - exp(ln(0.5) / 5 x distance to the label). Then the usual F of the weighted
    TP and FP. An empty label scores 1 against an empty prediction and 0 against another.
    """
    if not label.any():
        return float(not binarise(probabilities).any())
    nearest = nearest_pixel(surface(label)) if nearest is None else nearest
    inside = _softened(probabilities, label, nearest)
    weights = _importance(*label.shape).take(nearest.squared())
    weights[label] = 0
    false_positive = weights.ravel() @ probabilities.ravel().astype(np.float64)
    true_positive = inside.size - inside.sum()
    recall = 1 - inside.mean()
    precision = true_positive / (true_positive + false_positive + EPS)
    return float(2 * recall * precision / (recall + precision + EPS))


@lru_cache(maxsize=8)
def _importance(height: int, width: int) -> np.ndarray:
    """B = 2 - exp(ln(0.5) / 5 d) for every squared distance d^2 that an image of this size can hold."""
    return 2 - np.exp(np.log(0.5) / 5 * np.sqrt(np.arange((height - 1) ** 2 + (width - 1) ** 2 + 1)))


def _softened(probabilities: np.ndarray, label: np.ndarray, nearest: Nearest) -> np.ndarray:
    """Errors of the labelled pixels, each no more than the Gaussian mean around it: min(E, G * E'), (labelled,).

    A kernel of 7 x 7 reaches three pixels beyond the label, so the box around it with that margin holds all that matters; beyond
    the image errors are 0.
    """
    rows, columns = bounding_box(label)
    box = slice(max(rows.start - 3, 0), rows.stop + 3), slice(max(columns.start - 3, 0), columns.stop + 3)
    inside = label[box]
    error = 1 - probabilities[box].astype(np.float64)
    # a labelled pixel is its own nearest, whatever the set that ``nearest`` was made from
    from_nearest = 1 - probabilities[nearest.row[box], nearest.column[box]].astype(np.float64)
    around = np.where(inside, error, from_nearest)
    for axis in (0, 1):
        around = correlate1d(around, _PIXEL_KERNEL, axis=axis, mode="constant", cval=0.0)
    return np.minimum(error[inside], around[inside])
