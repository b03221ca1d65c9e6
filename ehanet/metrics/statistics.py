"""Comparison of methods from their score tables alone: intervals, paired tests, effect sizes, stability of ranks.

A method's score on an image is the mean over its seeds. Tests and intervals say how sure a difference is for other images drawn alike; how much
another training would change it is what ``sd_seeds`` shows. Where images share a group (slices of a patient), groups are resampled
and tested as wholes. With 100 test images half a point of Dice is usually noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

from ehanet.metrics.resampling import bootstrap_means, holm, permutation_pvalues, rank_shares
from ehanet.metrics.scores import LOWER_IS_BETTER

Frames = Mapping[str, pd.DataFrame | Sequence[pd.DataFrame]]
RESAMPLES = 10_000
ALPHA = 0.05
DIGITS = 12  # of a score: what lies below is arithmetic's


class Scores(NamedTuple):
    """One score of M methods on the same images."""

    methods: list[str]
    values: np.ndarray  # (M, images), mean over seeds; NaN where it is undefined in a seed
    seed_means: list[np.ndarray]  # for each method the mean over images of each seed
    clusters: np.ndarray  # (images,), group as 0 to G - 1


def compare(
    frames: Frames, score: str = "dice", reference: str = "ehanet", resamples: int = RESAMPLES, alpha: float = ALPHA, seed: int = 0
) -> pd.DataFrame:
    """Compare methods on one score, a row a method in the given order.

    Args:
        frames: method -> its score table (``score_masks``), or one table a seed. All tables hold the same images in the same groups.
        score: a column of the tables.
        reference: the method that the others are tested against.
        resamples: bootstrap resamples, and random permutations where not all can be tried.
        alpha: level of ``bold``; intervals cover 1 - alpha.
        seed: of the resampling.

    Returns:
        method, mean; low and high of the percentile bootstrap interval; sd_seeds, the sample standard deviation of the seeds' means (NaN for
        one seed); difference = mean of (method - reference) over the images where both are defined; p_wilcoxon (signed-rank test of the groups'
        mean differences), p_permutation (sign flips of whole groups), p_holm (p_permutation after Holm's correction over the methods); effect, Cohen's
        d_z = mean / standard deviation of the groups' mean differences (NaN where these do not vary but differ); first_share, how often
        the method ranks first in the bootstrap; n images used and left_out images, undefined in at least one seed; bold: the best mean, and better
        than every other method by a permutation test with Holm's correction at ``alpha``. The reference has NaN for what compares it with
        itself. A positive difference is better, except for distances and mae.

    Raises:
        ValueError: no tables, an unknown reference or score, tables of other images or groups, an image twice, resamples or alpha out of range, all in one line.
    """
    scores = collect(frames, score)
    if reference not in scores.methods:
        raise ValueError(f"reference {reference!r} is not among the methods: {', '.join(scores.methods)}")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, not {resamples!r}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha!r}")
    lower = score in LOWER_IS_BETTER
    values, clusters, place = scores.values, scores.clusters, scores.methods.index(reference)
    defined = (~np.isnan(values)).sum(axis=1)
    means = _row_means(values)
    resampled = bootstrap_means(values, clusters, resamples, seed)
    low, high = _interval(resampled, alpha)
    differences = values - values[place]
    others = np.arange(len(values)) != place
    tests = np.full((3, len(values)), np.nan)  # Wilcoxon, permutation, effect
    for row in np.flatnonzero(others):
        tests[0, row], tests[2, row] = _paired(differences[row], clusters)
    tests[1, others] = permutation_pvalues(differences[others], clusters, resamples, seed + 1)
    return pd.DataFrame(
        {
            "method": scores.methods, "mean": means, "low": low, "high": high,
            "sd_seeds": [row.std(ddof=1) if len(row) > 1 else np.nan for row in scores.seed_means],
            "difference": np.where(others, _row_means(differences), np.nan),
            "p_wilcoxon": tests[0], "p_permutation": tests[1], "p_holm": holm(tests[1]), "effect": tests[2],
            "first_share": rank_shares(resampled, lower)[:, 0], "n": defined, "left_out": values.shape[1] - defined,
            "bold": significantly_best(values, clusters, lower, resamples, alpha, seed + 2),
        }
    )  # fmt: skip


def paired_differences(
    frames: Frames, score: str, reference: str, resamples: int = RESAMPLES, alpha: float = ALPHA, seed: int = 0
) -> pd.DataFrame:
    """Mean of (method - reference) over the images where both are defined, with the percentile bootstrap interval of that mean.

    Returns:
        difference, low and high, indexed by method without the reference; arguments and errors as in :func:`compare`.
    """
    scores = collect(frames, score)
    if reference not in scores.methods:
        raise ValueError(f"reference {reference!r} is not among the methods: {', '.join(scores.methods)}")
    place = scores.methods.index(reference)
    differences = np.delete(scores.values - scores.values[place], place, axis=0)
    low, high = _interval(bootstrap_means(differences, scores.clusters, resamples, seed), alpha)
    others = [name for name in scores.methods if name != reference]
    return pd.DataFrame({"difference": _row_means(differences), "low": low, "high": high}, index=pd.Index(others, name="method"))


def rank_stability(frames: Frames, score: str = "dice", resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """How often each method takes each rank under resampling of the images: rows methods, columns ranks 1 to M, each row sums to 1."""
    scores = collect(frames, score)
    shares = rank_shares(bootstrap_means(scores.values, scores.clusters, resamples, seed), score in LOWER_IS_BETTER)
    return pd.DataFrame(shares, index=pd.Index(scores.methods, name="method"), columns=range(1, len(shares) + 1))


def smallest_p(clusters: np.ndarray, comparisons: int = 1) -> float:
    """The least p of the permutation test with so many groups, (images,), after Holm's correction: all signs alike, or all the other way."""
    return min(1.0, comparisons * 2.0 ** (1 - len(np.unique(clusters))))


def significantly_best(
    values: np.ndarray, clusters: np.ndarray, lower_is_better: bool, resamples: int = RESAMPLES, alpha: float = ALPHA, seed: int = 0
) -> np.ndarray:
    """(methods,) bool: True for the best mean if it beats every other one at ``alpha`` after Holm's correction; at most one."""
    best = np.zeros(len(values), bool)
    means = _row_means(values) * (-1 if lower_is_better else 1)
    if len(values) < 2 or np.isnan(means).all():
        return best
    top = int(np.nanargmax(means))
    others = np.arange(len(values)) != top
    advantages = (values[top] - values[others]) * (-1 if lower_is_better else 1)
    adjusted = holm(permutation_pvalues(advantages, clusters, resamples, seed))
    best[top] = bool(np.all((adjusted < alpha) & (_row_means(advantages) > 0)))
    return best


def collect(frames: Frames, score: str) -> Scores:
    """One score of all methods, images aligned by name; errors as in ``compare``."""
    if not frames:
        raise ValueError("no score tables to compare; give at least one method")
    tables = {name: [one] if isinstance(one, pd.DataFrame) else list(one) for name, one in frames.items()}
    first = None
    values, seed_means = [], []
    for name, seeds in tables.items():
        if not seeds:
            raise ValueError(f"method {name!r} has no score table")
        rows = []
        for table in seeds:
            table = _indexed(table, name, score)
            first = table if first is None else first
            _check_same_images(first, table, name)
            rows.append(table[score].reindex(first.index).to_numpy(dtype=float))
        # NaN in one seed leaves the image out; the last digits, which the order of the seeds decides, would tell equal methods apart
        values.append(np.round(np.mean(rows, axis=0), DIGITS))
        seed_means.append(_row_means(np.array(rows)))
    clusters = pd.factorize(first["group"])[0]
    return Scores(list(tables), np.array(values), seed_means, clusters)


def _indexed(table: pd.DataFrame, name: str, score: str) -> pd.DataFrame:
    """A score table by image."""
    missing = [column for column in ("image", "group", score) if column not in table.columns]
    if missing:
        raise ValueError(f"the score table of {name!r} has no column {missing[0]!r}; it has {', '.join(map(str, table.columns))}")
    if table.empty:
        raise ValueError(f"the score table of {name!r} has no rows")
    if table["image"].duplicated().any():
        raise ValueError(f"image {table['image'][table['image'].duplicated()].iloc[0]!r} is twice in the score table of {name!r}")
    return table.set_index("image")


def _check_same_images(first: pd.DataFrame, table: pd.DataFrame, name: str) -> None:
    """Methods are paired image by image, so their tables hold the same ones."""
    odd = first.index.symmetric_difference(table.index, sort=False)
    if len(odd):
        raise ValueError(f"image {odd[0]!r} is not in every score table (see {name!r}); score all methods on the same images")
    moved = first["group"] != table["group"].reindex(first.index)
    if moved.any():
        raise ValueError(f"image {first.index[moved][0]!r} has another group in the score table of {name!r}")


def _row_means(values: np.ndarray) -> np.ndarray:
    """Mean of each row over its defined entries, NaN where there is none."""
    count = (~np.isnan(values)).sum(axis=1)
    return np.where(count > 0, np.nansum(values, axis=1) / np.maximum(count, 1), np.nan)


def _interval(resampled: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of each column of (resamples, methods)."""
    low, high = np.full((2, resampled.shape[1]), np.nan)
    for column, means in enumerate(resampled.T):
        means = means[~np.isnan(means)]
        if len(means):
            low[column], high[column] = np.quantile(means, [alpha / 2, 1 - alpha / 2])
    return low, high


def _paired(differences: np.ndarray, clusters: np.ndarray) -> tuple[float, float]:
    """Wilcoxon's p and Cohen's d_z of the clusters' mean differences.

    Clusters without a difference are dropped, as Wilcoxon 1945 has it; with none left p is 1 and the effect 0.
    """
    defined = ~np.isnan(differences)
    if not defined.any():
        return np.nan, np.nan
    count = np.bincount(clusters[defined])
    means = np.round(np.bincount(clusters[defined], weights=differences[defined])[count > 0] / count[count > 0], DIGITS)  # ties: 0.1 + 0.2 against 0.3
    if not means.any():
        return 1.0, 0.0
    pvalue = wilcoxon(means, zero_method="wilcox").pvalue
    spread = means.std(ddof=1) if len(means) > 1 else 0.0
    return float(pvalue), float(means.mean() / spread) if spread > 1e-15 else np.nan
