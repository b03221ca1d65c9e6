"""How scores fall under corruption: curves over severities, and one number relative to a reference method.

Each row of the table is an image under a condition; images are resampled by group, the same ones for all methods and conditions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from ehanet.metrics.resampling import bootstrap_means
from ehanet.metrics.statistics import ALPHA

RESAMPLES = 2000


class Resampled(NamedTuple):
    """Mean Dice (methods, corruptions, severities 1 to 5) and of the images as they are (methods,), measured and in each resample."""

    methods: list[str]
    corruptions: list[str]
    severities: list[int]
    corrupted: np.ndarray  # (1 + resamples, M, C, S); the first is what was measured
    clean: np.ndarray  # (1 + resamples, M)


def resample_conditions(scores: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0) -> Resampled:
    """Bootstrap the means of every condition.

    Args:
        scores: label, corruption ("none" for severity 0), severity, image, group, dice; seeds are averaged.

    Raises:
        ValueError: a condition lacks an image for one of the methods.
    """
    methods, corruptions = list(dict.fromkeys(scores["label"])), [name for name in dict.fromkeys(scores["corruption"]) if name != "none"]
    severities = sorted(set(scores["severity"]) - {0})
    wide = scores.pivot_table(index=["label", "corruption", "severity"], columns="image", values="dice", aggfunc="mean", sort=False)
    conditions = [(method, "none", 0) for method in methods] + [(m, c, s) for m in methods for c in corruptions for s in severities]
    wide = wide.reindex(pd.MultiIndex.from_tuples(conditions))
    if wide.isna().any(axis=None):
        raise ValueError(f"the scores of {' '.join(map(str, wide.index[wide.isna().any(axis=1)][0]))} lack an image; run the robustness step again")
    groups = scores.drop_duplicates("image").set_index("image")["group"].reindex(wide.columns)
    values = wide.to_numpy(dtype=float)
    means = np.concatenate([values.mean(axis=1)[None], bootstrap_means(values, pd.factorize(groups)[0], resamples, seed)])
    shape = (-1, len(methods), len(corruptions), len(severities))
    return Resampled(methods, corruptions, severities, means[:, len(methods):].reshape(shape), means[:, : len(methods)])


def corruption_errors(found: Resampled, reference: str) -> np.ndarray:
    """Corruption error of each method and corruption in percent of the reference's, (1 + resamples, M, C).

    CE = 100 sum_s (1 - Dice) / sum_s (1 - Dice of the reference), as Hendrycks and Dietterich 2019 define it for the error rate; its mean over
    the corruptions is the mCE. Below 100 is more robust than the reference. NaN where the reference makes no error.
    """
    errors = (1 - found.corrupted).sum(axis=3)
    own = errors[:, [found.methods.index(reference)]]
    return 100 * np.divide(errors, own, out=np.full_like(errors, np.nan), where=own > 0)


def interval(resampled: np.ndarray, alpha: float = ALPHA) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What was measured (the first entry) and the percentile interval of the others, along the first axis."""
    low, high = np.quantile(resampled[1:], [alpha / 2, 1 - alpha / 2], axis=0)
    return resampled[0], low, high
