"""Mean Dice over thresholds, PraNet's protocol (Fan et al., MICCAI 2020). Never to be mixed with Dice at 0.5.

The authors' MATLAB tool runs through the thresholds 1, 254/255, ..., 0, takes a pixel as foreground at probability >= threshold, and
averages Dice over the images and then the thresholds. Here the thresholds are the 255 above 0: at 0 everything is foreground, whatever the
network. ``dice_curves(...).mean()`` is the mean over all 256. The tool stretches each map to [0, 1] first; here maps stay as they are, like all
other scores.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ehanet.metrics.inputs import check_maps
from ehanet.metrics.saliency import LEVELS, threshold_counts


def dice_over_thresholds(probabilities: Any, labels: Any) -> float:
    """Mean over images and over the thresholds k / 255, k = 1 to 255, of the Dice of probability >= threshold.

    Args:
        probabilities: (N, H, W) floating in [0, 1].
        labels: (N, H, W), bool or 0/1.

    Raises:
        ValueError: bad input, naming the image; no images.
    """
    curves = dice_curves(probabilities, labels)
    if not len(curves):
        raise ValueError("dice_over_thresholds needs at least one image")
    return float(curves[:, 1:].mean())


def dice_curves(probabilities: Any, labels: Any) -> np.ndarray:
    """Dice of each image at the thresholds k / 255, k = 0 to 255: (N, 256); 1 where label and prediction are both empty."""
    probabilities, labels, _, _ = check_maps(probabilities, labels)
    curves = np.empty((len(labels), LEVELS))
    for curve, image, label in zip(curves, probabilities, labels, strict=True):
        inside, outside = threshold_counts(image, label)
        both = inside + outside + np.count_nonzero(label)
        curve[:] = np.where(both == 0, 1.0, 2 * inside / np.maximum(both, 1))
    return curves
