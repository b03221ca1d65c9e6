"""Checks of what comes in: every fault is a one-line ValueError that says which image has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def to_numpy(array: Any) -> np.ndarray:
    """A numpy array, a nested list, or a torch tensor on any device -> numpy array.

    Tensors are known by their methods, so this module does not need torch. numpy has no bfloat16: such a tensor comes as float32.
    """
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        if str(array.dtype) == "torch.bfloat16":
            array = array.float()
        return array.numpy()
    return np.asarray(array)


def check_maps(
    probabilities: Any, labels: Any, ids: Sequence | None = None, groups: Sequence | None = None
) -> tuple[np.ndarray, np.ndarray, list, list]:
    """Check a set of probability maps against its labels.

    Args:
        probabilities: (N, H, W) floating in [0, 1]; an array, a tensor, or a list of N arrays (H, W).
        labels: (N, H, W), bool or 0/1 of any type.
        ids: N names, each once; the numbers 0 to N - 1 where there are none.
        groups: N names of what images belong to (a patient); each image is its own group where there are none.

    Returns:
        probabilities float32 or float64 (half precision becomes float32), labels bool, ids, groups.

    Raises:
        ValueError: shapes that differ, a rank other than 3, values outside [0, 1], NaN, labels other than 0 and 1, ids that repeat.
    """
    probabilities, labels = _images(probabilities), _images(labels)
    count = min(len(probabilities), len(labels))
    ids = list(range(count)) if ids is None else _names(ids)
    _check_shapes(probabilities, labels, ids)
    groups = list(ids) if groups is None else _names(groups)
    for what, names in (("ids", ids), ("groups", groups)):
        if len(names) != count:
            raise ValueError(f"{what} has {len(names)} entries for {count} images; give one an image")
    if len(set(ids)) != len(ids):
        twice = next(name for place, name in enumerate(ids) if name in ids[:place])
        raise ValueError(f"image {twice!r} appears more than once in ids; each image needs an id of its own")
    if count == 0:
        return np.zeros((0, 1, 1)), np.zeros((0, 1, 1), bool), [], []
    return _check_probabilities(np.asarray(probabilities), ids), _check_labels(np.asarray(labels), ids), ids, groups


def _images(maps: Any) -> Sequence[np.ndarray]:
    """A sequence of the images: an array's first axis, or the entries of a list of arrays or tensors."""
    if isinstance(maps, (list, tuple)):
        return [to_numpy(image) for image in maps]
    array = to_numpy(maps)
    if array.ndim != 3:
        raise ValueError(f"probabilities and labels must have the shape (N, H, W), one of them has {array.shape}; one image is array[None]")
    return array


def _names(names: Sequence) -> list:
    """Names as a list of plain Python values."""
    return names.tolist() if hasattr(names, "tolist") else list(names)


def _check_shapes(probabilities: Sequence[np.ndarray], labels: Sequence[np.ndarray], ids: list) -> None:
    """Every probability map has a label of its shape, and all images have one."""
    if len(probabilities) != len(labels):
        place = min(len(probabilities), len(labels))
        name = ids[place] if place < len(ids) else place
        raise ValueError(f"image {name!r} has no counterpart: {len(probabilities)} probability maps, {len(labels)} labels")
    for place, (one, other) in enumerate(zip(probabilities, labels, strict=True)):
        name = ids[place] if place < len(ids) else place
        if one.shape != other.shape:
            raise ValueError(f"image {name!r}: probabilities {one.shape} and label {other.shape} must have the same shape")
        if one.ndim != 2 or 0 in one.shape:
            raise ValueError(f"image {name!r} must have the shape (H, W) with at least one pixel, not {one.shape}")
        if one.shape != probabilities[0].shape:
            raise ValueError(f"image {name!r} is {one.shape}, the first image {probabilities[0].shape}; score each size by a call of its own")


def _check_probabilities(maps: np.ndarray, ids: list) -> np.ndarray:
    """Floating values in [0, 1] without NaN."""
    if not np.issubdtype(maps.dtype, np.floating):
        raise ValueError(f"image {ids[0]!r}: probabilities must be floating in [0, 1], not {maps.dtype}; a mask is mask.astype(float)")
    if maps.dtype not in (np.float32, np.float64):
        maps = maps.astype(np.float32)
    low, high = maps.min(axis=(1, 2)), maps.max(axis=(1, 2))
    wrong = ~((low >= 0) & (high <= 1))  # a NaN fails both comparisons
    if wrong.any():
        place = int(np.argmax(wrong))
        if np.isnan(low[place]):
            raise ValueError(f"image {ids[place]!r}: probabilities hold NaN")
        raise ValueError(
            f"image {ids[place]!r}: probabilities must be in [0, 1], found {low[place]:g} to {high[place]:g}; logits need a sigmoid first"
        )
    return np.ascontiguousarray(maps)


def _check_labels(maps: np.ndarray, ids: list) -> np.ndarray:
    """Labels of 0 and 1 as bool."""
    if maps.dtype == bool:
        return np.ascontiguousarray(maps)
    if not np.issubdtype(maps.dtype, np.number):
        raise ValueError(f"image {ids[0]!r}: labels must be bool or 0/1, not {maps.dtype}")
    foreground = maps == 1
    wrong = ~(foreground | (maps == 0))
    if wrong.any():
        place = int(np.argmax(wrong.any(axis=(1, 2))))
        value = maps[place][wrong[place]][0]
        raise ValueError(f"image {ids[place]!r}: labels must be 0 or 1, found {value}; binarise first, for example mask > 127")
    return np.ascontiguousarray(foreground)
