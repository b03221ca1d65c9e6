"""Boundary scores of one binary prediction (H, W) against its label (H, W).

With d(p) the distances from the prediction's surface pixels to the label's surface, d(l) the way back, arrays (n,) (``distances``):

* HD = max(max d(p), max d(l)); HD95 = max(P95 d(p), P95 d(l)), percentiles by linear interpolation, as MONAI does it; medpy takes
  one percentile of both sets together, and gets another number.
* ASSD = mean of both sets together; MASD = (mean d(p) + mean d(l)) / 2 (names as in Reinke et al., Nature Methods 2024).
* NSD at tau = (#{d(p) <= tau} + #{d(l) <= tau}) / (#d(p) + #d(l)), Nikolov et al. 2018, surface pixels counted.
* boundary F1 = 2 P R / (P + R) with P = #{d(p) <= 2} / #d(p), R = #{d(l) <= 2} / #d(l), Csurka et al. 2013.
* boundary IoU, Cheng et al. 2021: IoU of the bands inside the two contours, the image border being contour; a band is the mask minus
  max(1, round(0.02 x diagonal)) erosions by the 3 x 3 square.

Two empty masks agree: distances 0, shares 1. Where one is empty, distances are the image diagonal and shares 0.
"""

from __future__ import annotations

import math

import numpy as np

from ehanet.metrics.distances import Nearest, bounding_box, surface_distances, surface_distances_mm

DISTANCES = ("hd", "hd95", "assd", "masd")
TOLERANCES = (1, 2, 3)
BOUNDARY_F1_TOLERANCE = 2.0
BAND_SHARE = 0.02


def boundary_scores(
    prediction: np.ndarray, label: np.ndarray, nearest: Nearest | None = None, spacing: tuple[float, float] | None = None
) -> dict[str, float]:
    """All boundary columns of the score table.

    Args:
        prediction, label: boolean (H, W).
        nearest: ``nearest_pixel(surface(label))`` where the caller has it already.
        spacing: (height, width) of a pixel in millimetres; then hd, hd95, assd and masd are in millimetres. Tolerances and
            bands stay in pixels.
    """
    height, width = label.shape
    predicted, labelled = prediction.any(), label.any()
    if not (predicted and labelled):
        agree = bool(predicted == labelled)
        vertical, horizontal = spacing or (1.0, 1.0)
        distance = 0.0 if agree else math.hypot(height * vertical, width * horizontal)
        shares = [f"nsd_{tau}" for tau in TOLERANCES] + ["boundary_iou", "boundary_f1"]
        return dict.fromkeys(DISTANCES, distance) | dict.fromkeys(shares, float(agree))
    pixels = surface_distances(prediction, label, nearest)
    measured = pixels if spacing is None else surface_distances_mm(prediction, label, spacing)
    scores = distance_scores(*measured)
    scores |= {f"nsd_{tau}": surface_dice(*pixels, tau) for tau in TOLERANCES}
    scores["boundary_iou"] = boundary_iou(prediction, label)
    scores["boundary_f1"] = boundary_f1(*pixels)
    return scores


def distance_scores(from_prediction: np.ndarray, from_label: np.ndarray) -> dict[str, float]:
    """HD, HD95, ASSD and MASD from the two sets of surface distances, in their unit."""
    count = len(from_prediction) + len(from_label)
    return {
        "hd": float(max(from_prediction.max(), from_label.max())),
        "hd95": max(percentile_95(from_prediction), percentile_95(from_label)),
        "assd": float((from_prediction.sum() + from_label.sum()) / count),
        "masd": float((from_prediction.mean() + from_label.mean()) / 2),
    }


def percentile_95(values: np.ndarray) -> float:
    """95th percentile by linear interpolation between the two values around place 0.95 (n - 1): ``np.percentile`` without its checks."""
    place = 0.95 * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    parted = np.partition(values, (below, above))
    return float(parted[below] + (parted[above] - parted[below]) * (place - below))


def surface_dice(from_prediction: np.ndarray, from_label: np.ndarray, tolerance: float) -> float:
    """Normalised surface Dice (NSD): share of both surfaces within ``tolerance`` pixels of the other."""
    within = np.count_nonzero(from_prediction <= tolerance) + np.count_nonzero(from_label <= tolerance)
    return within / (len(from_prediction) + len(from_label))


def boundary_f1(from_prediction: np.ndarray, from_label: np.ndarray, tolerance: float = BOUNDARY_F1_TOLERANCE) -> float:
    """Harmonic mean of the shares of the predicted and of the labelled surface within ``tolerance`` pixels of the other."""
    precision = np.count_nonzero(from_prediction <= tolerance) / len(from_prediction)
    recall = np.count_nonzero(from_label <= tolerance) / len(from_label)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary_iou(prediction: np.ndarray, label: np.ndarray) -> float:
    """Boundary IoU of two boolean masks (H, W) that are not both empty; bands of 2 % of the diagonal."""
    radius = max(1, round(BAND_SHARE * math.hypot(*label.shape)))
    box = bounding_box(prediction | label)
    bands = [mask & ~erode_square(mask, radius) for mask in (prediction[box], label[box])]
    return np.count_nonzero(bands[0] & bands[1]) / np.count_nonzero(bands[0] | bands[1])


def erode_square(mask: np.ndarray, radius: int) -> np.ndarray:
    """``radius`` erosions of a boolean mask (H, W) by the 3 x 3 square, background beyond the image.

    They amount to one erosion by a square of 2 radius + 1: a running AND along each axis, whose window doubles at each step.
    """
    eroded = np.pad(mask, radius)
    for _ in range(2):
        window = 1
        while window < 2 * radius + 1:
            step = min(window, 2 * radius + 1 - window)
            eroded = eroded[:-step] & eroded[step:]
            window += step
        eroded = eroded.T
    return eroded
