"""Overlap scores from the four counts of a binary segmentation, one value an image.

With TP, FP, FN and TN the pixels of a prediction against its label (prediction = probability > 0.5):

* Dice = 2 TP / (2 TP + FP + FN) (the F1 of the pixels), IoU = TP / (TP + FP + FN),
* precision = TP / (TP + FP), recall = TP / (TP + FN), specificity = TN / (TN + FP), accuracy = (TP + TN) / pixels,
* F-beta = (1 + beta^2) TP / ((1 + beta^2) TP + beta^2 FN + FP), van Rijsbergen 1979; F2 weighs recall higher.

Where a quotient is 0 / 0: Dice, IoU, precision and F2 of two empty masks are 1; precision is 0 where only the prediction is
empty; recall of an empty label against a prediction that is not, and specificity of a label without background, have no
meaning and are NaN, for the caller to leave out and count. Specificity of two empty masks is 1.

This module needs numpy alone: training uses it for the validation Dice.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

THRESHOLD = 0.5


class Counts(NamedTuple):
    """Pixels of N predictions against their labels; each field float64 of shape (N,)."""

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    tn: np.ndarray


def binarise(probabilities: np.ndarray) -> np.ndarray:
    """Prediction of probability maps (N, H, W), bool: True where the probability is above 0.5 (at 0.5 it is background)."""
    return np.asarray(probabilities) > THRESHOLD


def count_pixels(predictions: np.ndarray, labels: np.ndarray) -> Counts:
    """Counts of boolean masks (N, H, W) against boolean labels (N, H, W)."""
    tp, predicted, labelled = (
        np.array([np.count_nonzero(mask) for mask in masks], dtype=np.float64) for masks in (predictions & labels, predictions, labels)
    )
    pixels = float(np.prod(labels.shape[1:]))
    return Counts(tp, predicted - tp, labelled - tp, pixels - predicted - labelled + tp)


def _quotient(numerator: np.ndarray, denominator: np.ndarray, otherwise: float | np.ndarray) -> np.ndarray:
    """numerator / denominator, and ``otherwise`` where the denominator is 0."""
    empty = denominator == 0
    return np.where(empty, otherwise, numerator / np.where(empty, 1.0, denominator))


def dice(counts: Counts) -> np.ndarray:
    """Dice coefficient (N,); 1 where both masks are empty."""
    return _quotient(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn, 1.0)


def iou(counts: Counts) -> np.ndarray:
    """Intersection over union, the Jaccard index (N,); 1 where both masks are empty."""
    return _quotient(counts.tp, counts.tp + counts.fp + counts.fn, 1.0)


def precision(counts: Counts) -> np.ndarray:
    """Share of the predicted pixels that are labelled (N,); 1 where both masks are empty, 0 where only the prediction is."""
    return _quotient(counts.tp, counts.tp + counts.fp, (counts.fn == 0).astype(np.float64))


def recall(counts: Counts) -> np.ndarray:
    """Share of the labelled pixels that are predicted (N,); 1 where both masks are empty, NaN where only the label is."""
    return _quotient(counts.tp, counts.tp + counts.fn, np.where(counts.fp == 0, 1.0, np.nan))


def specificity(counts: Counts) -> np.ndarray:
    """Share of the background pixels that are predicted as background (N,); NaN for a label without background."""
    return _quotient(counts.tn, counts.tn + counts.fp, np.nan)


def accuracy(counts: Counts) -> np.ndarray:
    """Share of the pixels where prediction and label agree (N,)."""
    return (counts.tp + counts.tn) / (counts.tp + counts.fp + counts.fn + counts.tn)


def f_beta(counts: Counts, beta: float = 2.0) -> np.ndarray:
    """F-beta of the pixels (N,): beta = 2 gives the F2 column; 1 where both masks are empty."""
    weight = beta * beta
    return _quotient((1 + weight) * counts.tp, (1 + weight) * counts.tp + weight * counts.fn + counts.fp, 1.0)


def region_scores(counts: Counts) -> dict[str, np.ndarray]:
    """All overlap columns of the score table, by name, each (N,)."""
    return {
        "dice": dice(counts), "iou": iou(counts), "precision": precision(counts), "recall": recall(counts),
        "specificity": specificity(counts), "accuracy": accuracy(counts), "f2": f_beta(counts, 2.0),
    }


def dice_per_image(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Dice of each image at probability > 0.5: what training keeps a checkpoint by, averaged by its caller.

    Args:
        probabilities: (N, H, W) in [0, 1].
        labels: (N, H, W), bool or 0/1.

    Returns:
        (N,) float64; 1 for an image whose label and prediction are both empty.

    Raises:
        ValueError: the two shapes differ.
    """
    labels = np.asarray(labels)
    if np.shape(probabilities) != labels.shape:
        raise ValueError(f"probabilities {np.shape(probabilities)} and labels {labels.shape} must have the same shape")
    return dice(count_pixels(binarise(probabilities), labels.astype(bool)))
