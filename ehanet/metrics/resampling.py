"""Resampling of clustered, paired data: bootstrap means, sign-flip permutation tests, Holm's correction.

A cluster is what was drawn independently: a patient with all slices, or an image on its own. Arrays are (methods, images), NaN where a score is not
defined; ``clusters`` (images,) holds each image's cluster as 0 to G - 1. Everything is seeded and gives the same numbers anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_CHUNK = 1 << 21  # numbers drawn at once, to bound the memory


def cluster_sums(values: np.ndarray, clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums over the defined scores of each cluster, and how many there are: both (methods, G) for ``values`` (methods, images)."""
    number = int(clusters.max()) + 1
    return tuple(np.array([np.bincount(clusters, weights=row, minlength=number) for row in rows]).reshape(len(values), number)
                 for rows in (np.nan_to_num(values), ~np.isnan(values)))


def bootstrap_means(values: np.ndarray, clusters: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Mean score of each method in each resample: (resamples, methods).

    G clusters are drawn with replacement, the same ones for all methods, so that differences and ranks stay paired; the mean is over their
    images (the cluster bootstrap, Davison and Hinkley 1997, 3.8). NaN where a resample holds no defined score.
    """
    sums, counts = cluster_sums(values, clusters)
    number = sums.shape[1]
    rng = np.random.default_rng(seed)
    means = []
    for size in _chunks(resamples, number):
        drawn = rng.multinomial(number, np.full(number, 1 / number), size=size).astype(float)
        total = drawn @ counts.T
        means.append(np.where(total > 0, drawn @ sums.T / np.maximum(total, 1), np.nan))
    return np.concatenate(means)


def permutation_pvalues(differences: np.ndarray, clusters: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Two-sided p of each row of paired differences (comparisons, images): are they centred at 0?

    If the two methods are alike, the sign of a cluster's differences is a coin's; the statistic is the mean difference over images. All
    2^G patterns of signs are tried where they are no more than ``resamples``, else random ones with p = (1 + hits) / (1 + resamples)
    (Phipson and Smyth 2010). A row without any difference, or without values, has p = 1.
    """
    sums, _ = cluster_sums(differences, clusters)
    number = sums.shape[1]
    observed = np.abs(sums.sum(axis=1))
    reach = observed * (1 - 1e-9)  # equal sums may differ in the last bits
    if number < 62 and 2**number <= resamples:
        patterns = np.arange(2**number)[:, None] >> np.arange(number) & 1
        return (np.abs((2.0 * patterns - 1) @ sums.T) >= reach).mean(axis=0)
    rng = np.random.default_rng(seed)
    hits = np.zeros(len(sums))
    for size in _chunks(resamples, number):
        signs = 2.0 * rng.integers(0, 2, size=(size, number), dtype=np.int8) - 1
        hits += (np.abs(signs @ sums.T) >= reach).sum(axis=0)
    return (1 + hits) / (1 + resamples)


def holm(pvalues: np.ndarray) -> np.ndarray:
    """Holm 1979: p values (k,) adjusted for k comparisons, step-down; NaN is no comparison and stays."""
    adjusted = np.full(len(pvalues), np.nan)
    tested = np.flatnonzero(~np.isnan(pvalues))
    order = tested[np.argsort(pvalues[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(pvalues[order] * factors), 1.0)
    return adjusted


def rank_shares(means: np.ndarray, lower_is_better: bool) -> np.ndarray:
    """How often each method takes each rank: (methods, ranks) from means (resamples, methods); each row sums to 1.

    Methods with the same mean share their ranks evenly; a method without a mean in a resample is last in it.
    """
    methods = means.shape[1]
    filled = np.where(np.isnan(means), np.inf, means if lower_is_better else -means)
    shares = np.zeros((methods, methods))
    for place in range(methods):
        better = (filled < filled[:, [place]]).sum(axis=1)
        equal = (filled == filled[:, [place]]).sum(axis=1)
        for rank in range(methods):
            shares[place, rank] = np.mean(((better <= rank) & (rank < better + equal)) / equal)
    return shares


def _chunks(resamples: int, number: int) -> Iterator[int]:
    """Sizes that add up to ``resamples``, each with at most _CHUNK draws of ``number``."""
    size = max(1, _CHUNK // number)
    for start in range(0, resamples, size):
        yield min(size, resamples - start)
