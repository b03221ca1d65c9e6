"""Near-duplicate images by perceptual hash, and what of them lies in several splits."""

from __future__ import annotations

import numpy as np
import pandas as pd
from PIL import Image
from scipy.fft import dctn

from ehanet.data.splits import SPLITS

SIDE, LOW = 32, 8  # of the reduced image, and of the square of lowest frequencies that makes the 64 bits
DISTANCE = 8  # bits of 64 that may differ
CORRELATION = 0.98  # of the reduced grey images: 64 bits alone confuse smooth images of one kind
_CHUNK = 1024  # rows of the matrix of distances at once


def reduced(images: np.ndarray) -> np.ndarray:
    """uint8 (N, H, W, 3) -> grey float32 (N, 32, 32) by area average."""
    return np.stack([np.asarray(Image.fromarray(image).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), np.float32) for image in images])


def perceptual_hashes(grey: np.ndarray) -> np.ndarray:
    """uint64 (N,) of reduced images (N, 32, 32): which of the 64 lowest cosine coefficients lie above their median.

    The DCT hash that Zauner 2010 ("Implementation and benchmarking of perceptual image hash functions") describes; the median leaves out
    the mean of the image, so brightness and contrast do not matter.
    """
    low = dctn(grey, axes=(1, 2), norm="ortho")[:, :LOW, :LOW].reshape(len(grey), -1)
    bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


def near_duplicates(images: np.ndarray) -> pd.DataFrame:
    """Pairs of images that look alike: their hashes differ in at most :data:`DISTANCE` bits and their reduced grey images
    correlate by at least :data:`CORRELATION`.

    Args:
        images: uint8 (N, H, W, 3), or what indexes like it.

    Returns:
        first and second (indices, first < second), distance in bits, correlation, identical (every byte); the most alike first.
    """
    grey = reduced(images)
    hashes = perceptual_hashes(grey)
    pairs = _close(hashes, hashes)
    found = _correlated(pairs[pairs["first"] < pairs["second"]], grey, grey)
    found["identical"] = [bool(np.array_equal(images[one], images[other])) for one, other in zip(found["first"], found["second"])]
    return found.sort_values(["identical", "distance", "correlation", "first"], ascending=[False, True, False, True], ignore_index=True)


def resembling(images: np.ndarray, known: np.ndarray) -> list[int]:
    """Indices of ``images`` that look like one of ``known``, by the measure of :func:`near_duplicates`; each uint8 (N, H, W, 3), of any sizes."""
    ones, others = reduced(images), reduced(known)
    return sorted(set(_correlated(_close(perceptual_hashes(ones), perceptual_hashes(others)), ones, others)["first"].tolist()))


def _close(hashes: np.ndarray, others: np.ndarray) -> pd.DataFrame:
    """Pairs of hashes, one of each, that differ in at most :data:`DISTANCE` bits: first, second, distance."""
    pairs = []
    for start in range(0, len(hashes), _CHUNK):
        apart = np.bitwise_count(hashes[start:start + _CHUNK, None] ^ others[None])
        first, second = np.nonzero(apart <= DISTANCE)
        pairs.append(np.stack([first + start, second, apart[first, second]], axis=1).astype(int))
    return pd.DataFrame(np.concatenate(pairs), columns=["first", "second", "distance"])


def _correlated(pairs: pd.DataFrame, ones: np.ndarray, others: np.ndarray) -> pd.DataFrame:
    """Those of the pairs whose reduced images (N, 32, 32), one of each, correlate by at least :data:`CORRELATION`, with the correlation."""
    first, second = (_normed(grey)[pairs[name]] for grey, name in ((ones, "first"), (others, "second")))
    same = (ones[pairs["first"]] == others[pairs["second"]]).all(axis=(1, 2))  # of one colour there is nothing to correlate
    found = pairs.assign(correlation=np.where(same, 1.0, (first * second).sum(axis=1)))
    return found[found["correlation"] >= CORRELATION].reset_index(drop=True)


def _normed(grey: np.ndarray) -> np.ndarray:
    """Rows of mean 0 and length 1."""
    flat = grey.reshape(len(grey), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def leakage(pairs: pd.DataFrame, places: list[str], groups: list[str]) -> pd.DataFrame:
    """What two splits share, a row a pair of splits.

    Args:
        pairs: of :func:`near_duplicates`. places: "train", "val" or "test" of each image. groups: patient or image of each.

    Returns:
        one, other; pairs and identical: near-duplicates across the two, and those of them with equal bytes; affected: images of the smaller, later
        split (other) with a near-duplicate in the first, of ``images``; groups: patients with images in both.
    """
    place = np.array(places)
    first, second = place[pairs["first"]], place[pairs["second"]]
    rows = []
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        there, back = (first == one) & (second == other), (first == other) & (second == one)
        affected = {*pairs.loc[there, "second"], *pairs.loc[back, "first"]}
        members = [{group for group, where in zip(groups, places) if where == split} for split in (one, other)]
        rows.append({"one": one, "other": other, "pairs": int((there | back).sum()), "identical": int(pairs.loc[there | back, "identical"].sum()),
                     "affected": len(affected), "images": int((place == other).sum()), "groups": len(members[0] & members[1])})
    return pd.DataFrame(rows)


def split_places(splits: dict[str, np.ndarray], count: int) -> list[str]:
    """Split name of each of ``count`` images."""
    places = [""] * count
    for name in SPLITS:
        for index in splits[name]:
            places[index] = name
    return places
