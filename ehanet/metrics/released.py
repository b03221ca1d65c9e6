"""The evaluation of the released code, to show what the choice of score does. No table of results uses it.

Three choices run in the released code but are not what the scores' names say:

* a prediction is logit > 0.5, that is probability > 1 / (1 + exp(-0.5)) = 0.622;
* Dice and IoU are taken over all pixels of a batch together, then averaged over batches, so a large object outweighs small ones, and the
  size of the batch is part of the score;
* the Hausdorff distance takes the rows of the mask as points with one coordinate a column. Between binary rows the distance is the square root of
  the number of differing pixels, wherever in the image the rows lie.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ehanet.metrics.boundaries import boundary_scores
from ehanet.metrics.inputs import check_maps
from ehanet.metrics.regions import THRESHOLD, Counts, count_pixels, dice, iou

RELEASED_THRESHOLD = 1 / (1 + math.exp(-0.5))
BATCH_SIZE = 16


def released_scores(probabilities: Any, labels: Any, ids: Sequence | None = None, batch_size: int = BATCH_SIZE) -> pd.Series:
    """``dice``, ``iou`` and ``hausdorff`` as the released evaluation would give them, images in the given order.

    In a batch where neither labels nor predictions hold an object Dice and IoU are 1: the released code adds 1e-15 above and below.

    Args:
        probabilities: (N, H, W) floating in [0, 1].
        labels: (N, H, W), bool or 0/1.
    """
    table = score_choice(probabilities, labels, ids, batch_size)
    return table.set_index("evaluation").loc["released", ["dice", "iou", "hausdorff"]].astype(float)


def score_choice(probabilities: Any, labels: Any, ids: Sequence | None = None, batch_size: int = BATCH_SIZE) -> pd.DataFrame:
    """The same predictions under both evaluations and with one choice changed at a time.

    Returns:
        a row each for "ours", "threshold 0.62", "pooled batches", "row-wise Hausdorff" and "released" (all three), with columns
        evaluation, threshold, pooled, dice, iou, hausdorff (pixels; row-wise: root of a number of pixels).

    Raises:
        ValueError: bad input, naming the image; no images; a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size!r}")
    probabilities, labels, ids, _ = check_maps(probabilities, labels, ids)
    if not ids:
        raise ValueError("the comparison of evaluations needs at least one image")
    choices = [
        ("ours", THRESHOLD, False, False),
        ("threshold 0.62", RELEASED_THRESHOLD, False, False),
        ("pooled batches", THRESHOLD, True, False),
        ("row-wise Hausdorff", THRESHOLD, False, True),
        ("released", RELEASED_THRESHOLD, True, True),
    ]
    rows = []
    for name, threshold, pooled, row_wise in choices:
        predictions = probabilities > threshold
        counts = count_pixels(predictions, labels)
        if pooled:
            counts = _pool(counts, batch_size)
        distances = [
            row_wise_hausdorff(*pair) if row_wise else boundary_scores(*pair)["hd"] for pair in zip(predictions, labels, strict=True)
        ]
        rows.append((name, threshold, pooled, dice(counts).mean(), iou(counts).mean(), float(np.mean(distances))))
    return pd.DataFrame(rows, columns=["evaluation", "threshold", "pooled", "dice", "iou", "hausdorff"])


def _pool(counts: Counts, batch_size: int) -> Counts:
    """Counts (N,) of images -> counts of batches of ``batch_size``, the last one smaller."""
    starts = np.arange(0, len(counts.tp), batch_size)
    return Counts(*(np.add.reduceat(count, starts) for count in counts))


def row_wise_hausdorff(prediction: np.ndarray, label: np.ndarray) -> float:
    """Hausdorff distance of the sets of rows of two boolean masks (H, W), each row a point of W coordinates 0 or 1."""
    one, other = prediction.astype(np.float32), label.astype(np.float32)
    # |a - b|^2 = |a|^2 + |b|^2 - 2 a.b; all are whole numbers below 2^24
    squared = one.sum(axis=1)[:, None] + other.sum(axis=1)[None] - 2 * one @ other.T
    return float(np.sqrt(max(squared.min(axis=1).max(), squared.min(axis=0).max())))
