"""Region scores: overlap of prediction and label, one value an image."""

from __future__ import annotations

import numpy as np


def dice_per_image(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Dice 2 |P & Y| / (|P| + |Y|) of each image; (N, H, W), (N, H, W) -> (N,) float64.

    Prediction = probability > 0.5. Both empty: 1.
    """
    predicted = np.asarray(probabilities) > 0.5
    labels = np.asarray(labels) > 0
    overlap = (predicted & labels).sum(axis=(1, 2), dtype=np.float64)
    total = predicted.sum(axis=(1, 2), dtype=np.float64) + labels.sum(axis=(1, 2))
    return np.where(total == 0, 1.0, 2 * overlap / np.maximum(total, 1))
