"""The score table: one row an image, and the cells that tables show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ehanet.metrics.boundaries import boundary_scores
from ehanet.metrics.distances import nearest_pixel, surface
from ehanet.metrics.inputs import check_maps
from ehanet.metrics.regions import binarise, count_pixels, region_scores
from ehanet.metrics.saliency import saliency_scores

SCORES = [
    "dice", "iou", "precision", "recall", "specificity", "accuracy", "f2", "hd", "hd95", "assd", "masd", "nsd_1", "nsd_2", "nsd_3",
    "boundary_iou", "boundary_f1", "s_measure", "e_measure", "weighted_f", "mae",
]  # fmt: skip
COLUMNS = ["image", "group", "pixels", *SCORES, "gt_empty", "pred_empty"]
LOWER_IS_BETTER = frozenset({"hd", "hd95", "assd", "masd", "mae"})


def score_masks(
    probabilities: Any,
    labels: Any,
    ids: Sequence | None = None,
    groups: Sequence | None = None,
    spacing: tuple[float, float] | None = None,
) -> pd.DataFrame:
    """Score probability maps against their labels, one row an image, columns as in ``COLUMNS``.

    A prediction is probability > 0.5; s_measure, e_measure, weighted_f and mae see the map itself. ``pixels`` is the number of pixels
    of the image, H x W. Distances are in pixels of the given size, or in millimetres with ``spacing``. ``gt_empty`` and ``pred_empty``
    mark an empty label and an empty prediction. Definitions: ``regions``, ``boundaries``, ``saliency``.

    Args:
        probabilities: (N, H, W) floating in [0, 1]; numpy array or torch tensor on any device.
        labels: (N, H, W), bool or 0/1.
        ids: N names of the images, each once; default 0 to N - 1.
        groups: N names of what the images belong to, such as patients; default: the image itself.
        spacing: height and width of a pixel in millimetres, for hd, hd95, assd and masd.

    Returns:
        N rows without NaN, save two undefined cases: recall of an empty label against a prediction that is not empty, and
        specificity of a label without background. ``summarise`` leaves these out and counts them.

    Raises:
        ValueError: bad input, in one line that names the image.
    """
    probabilities, labels, ids, groups = check_maps(probabilities, labels, ids, groups)
    if spacing is not None and not (np.shape(spacing) == (2,) and all(0 < side < np.inf for side in spacing)):
        raise ValueError(f"spacing must be two positive numbers of millimetres (height, width), not {spacing!r}")
    predictions = binarise(probabilities)
    columns = {"image": ids, "group": groups, "pixels": np.full(len(ids), labels[0].size if ids else 0)}
    columns |= region_scores(count_pixels(predictions, labels))
    rows = [_score_image(*image, spacing) for image in zip(probabilities, predictions, labels, strict=True)]
    for name in SCORES:
        if name not in columns:
            columns[name] = np.array([row[name] for row in rows], dtype=np.float64)
    columns["gt_empty"] = ~labels.any(axis=(1, 2))
    columns["pred_empty"] = ~predictions.any(axis=(1, 2))
    return pd.DataFrame(columns, columns=COLUMNS)


def _score_image(
    probabilities: np.ndarray, prediction: np.ndarray, label: np.ndarray, spacing: tuple[float, float] | None
) -> dict[str, float]:
    """Boundary and saliency scores of one image, which share the distances to the label's surface."""
    nearest = nearest_pixel(surface(label)) if label.any() else None
    return boundary_scores(prediction, label, nearest, spacing) | saliency_scores(probabilities, label, nearest)


def summarise(frame: pd.DataFrame, scores: Iterable[str] | None = None) -> pd.DataFrame:
    """Table cells of one score table: a row a score.

    Args:
        frame: a row an image, as :func:`score_masks` gives it.
        scores: columns of it; default: all scores.

    Returns:
        indexed by score, with ``mean`` and ``sd`` over the images where it is defined, their number ``n``, the number ``left_out`` where
        it is not, and, the same in each row, ``missed`` (only the prediction is empty) and ``spurious`` (only the label is).

    Raises:
        ValueError: a score that the table does not have.
    """
    names = SCORES if scores is None else list(scores)
    unknown = [name for name in names if name not in frame.columns]
    if unknown:
        raise ValueError(f"no score {unknown[0]!r} in the table; it has {', '.join(name for name in SCORES if name in frame.columns)}")
    values = frame[names]
    label_empty, prediction_empty = frame["gt_empty"].astype(bool), frame["pred_empty"].astype(bool)
    return pd.DataFrame(
        {
            "mean": values.mean(),
            "sd": values.std(ddof=1),
            "n": values.notna().sum(),
            "left_out": values.isna().sum(),
            "missed": int((prediction_empty & ~label_empty).sum()),
            "spurious": int((label_empty & ~prediction_empty).sum()),
        },
        index=pd.Index(names, name="score"),
    )


def read_scores(path: str | Path) -> pd.DataFrame:
    """A score table from the CSV at ``path``, with image and group as text (an id 007 stays 007).

    Raises:
        FileNotFoundError: no such file.
        ValueError: a column of ``COLUMNS`` is missing.
    """
    frame = pd.read_csv(path, dtype={"image": str, "group": str}, keep_default_na=False, na_values={name: [""] for name in SCORES})
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise ValueError(f"{path} is not a score table: column {missing[0]!r} is missing")
    return frame
