"""Calibration of the foreground probability: expected calibration error and Brier score, over all pixels of a set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ehanet.metrics.inputs import check_maps

BINS = 15


def calibration(probabilities: Any, labels: Any, bins: int = BINS) -> pd.Series:
    """Expected calibration error and Brier score.

    ECE = sum over bins of (share of the pixels in it) x |mean probability - share labelled|, Naeini et al., AAAI 2015, on the probability of
    foreground in ``bins`` equal intervals. Brier = mean of (p - y)^2, Brier 1950. Both weigh every pixel of the set alike.

    Args:
        probabilities: (N, H, W) floating in [0, 1].
        labels: (N, H, W), bool or 0/1.

    Returns:
        ``ece``, ``brier`` and ``bins``.

    Raises:
        ValueError: bad input, naming the image; no images; fewer than one bin.
    """
    table = reliability_table(probabilities, labels, bins)
    used = table[table["pixels"] > 0]
    gap = (used["probability"] - used["labelled"]).abs()
    pixels = used["pixels"].sum()
    return pd.Series(
        {"ece": float((gap * used["pixels"]).sum() / pixels), "brier": float(table["squared_error"].sum() / pixels), "bins": bins}
    )


def reliability_table(probabilities: Any, labels: Any, bins: int = BINS) -> pd.DataFrame:
    """What a reliability diagram shows: a row a bin.

    Returns:
        columns ``low`` and ``high`` of the bin (probabilities in [low, high), the last with 1), ``pixels``, mean ``probability`` and share
        ``labelled`` (NaN for an empty bin), and the sum ``squared_error`` of (p - y)^2.
    """
    if not isinstance(bins, (int, np.integer)) or bins < 1:
        raise ValueError(f"bins must be a whole number of at least 1, not {bins!r}")
    probabilities, labels, ids, _ = check_maps(probabilities, labels)
    if not ids:
        raise ValueError("calibration needs at least one image")
    sums = np.zeros((4, bins))
    for image, label in zip(probabilities, labels, strict=True):  # one image at a time keeps memory low
        p, y = image.ravel().astype(np.float64), label.ravel().astype(np.float64)
        place = np.minimum((p * bins).astype(np.intp), bins - 1)
        for total, weights in zip(sums, (None, p, y, (p - y) ** 2), strict=True):
            total += np.bincount(place, weights=weights, minlength=bins)
    pixels, probability, labelled, squared = sums
    used = np.where(pixels > 0, pixels, np.nan)
    edges = np.linspace(0, 1, bins + 1)
    return pd.DataFrame(
        {
            "low": edges[:-1], "high": edges[1:], "pixels": pixels.astype(np.int64), "probability": probability / used,
            "labelled": labelled / used, "squared_error": squared,
        }
    )  # fmt: skip
