"""Scores of whole volumes: the slices of a patient as one mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ehanet.metrics.inputs import check_maps
from ehanet.metrics.regions import Counts, binarise, count_pixels, region_scores


def score_volumes(probabilities: Any, labels: Any, groups: Sequence, ids: Sequence | None = None) -> pd.DataFrame:
    """Overlap scores over the stacked slices of each group, one row a group in the order of first appearance.

    Volume Dice = 2 sum TP / (2 sum TP + sum FP + sum FN) over the slices, which weighs slices by their tumour, unlike the mean of
    slice Dice. Conventions for empty volumes as in ``regions``.

    Args:
        probabilities: (N, H, W) floating in [0, 1].
        labels: (N, H, W), bool or 0/1.
        groups: N names, the patient of each slice.
        ids: N names of the slices, for error messages.

    Returns:
        columns group, images (slices), pixels (of all slices), dice, iou, precision, recall, specificity, accuracy, f2, gt_empty, pred_empty.

    Raises:
        ValueError: bad input, naming the image.
    """
    probabilities, labels, _, groups = check_maps(probabilities, labels, ids, groups)
    names = list(dict.fromkeys(groups))
    place = np.array([names.index(group) for group in groups], dtype=np.intp)
    slices = count_pixels(binarise(probabilities), labels)
    volumes = Counts(*(np.bincount(place, weights=count, minlength=len(names)) for count in slices))
    columns = {"group": names, "images": np.bincount(place, minlength=len(names)), "pixels": sum(volumes).astype(np.int64)}
    columns |= region_scores(volumes)
    columns |= {"gt_empty": volumes.tp + volumes.fn == 0, "pred_empty": volumes.tp + volumes.fp == 0}
    return pd.DataFrame(columns)
