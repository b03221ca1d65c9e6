"""Procedural stand-ins for the four data sets: the same modalities, drawn by code, seeded.

They need no download, and they are no toy: a threshold fails on them, a trained network does not.
Numbers measured on them are marked "phantom data" everywhere.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .glioma import SLICES, patient
from .lesion import lesion
from .nuclei import nuclei
from .polyp import polyp

COUNT = 320
"""Images in each phantom data set: 256 / 32 / 32 by the rule split."""

MINIMUM_SIZE = 32


class Phantom(NamedTuple):
    """Images and masks as in a ``Dataset``: uint8 (N, H, W, 3) and uint8 0/1 (N, H, W)."""

    images: np.ndarray
    masks: np.ndarray
    ids: list[str]
    groups: list[str]


def _images(draw: Callable) -> Callable[[np.random.SeedSequence, int], Phantom]:
    """A data set of independent images from a function that draws one; each is its own group."""
    def make(stream: np.random.SeedSequence, size: int) -> Phantom:
        images, masks = zip(*(draw(*map(np.random.default_rng, child.spawn(2)), size)
                              for child in stream.spawn(COUNT)))
        ids = [f"{draw.__name__}_{index:03d}" for index in range(COUNT)]
        return Phantom(np.stack(images), np.stack(masks), ids, list(ids))
    return make


def _patients(stream: np.random.SeedSequence, size: int) -> Phantom:
    images, masks, ids, groups = [], [], [], []
    for number, child in enumerate(stream.spawn(COUNT // SLICES)):
        slices, labels = patient(child, size)
        images += slices
        masks += labels
        ids += [f"patient_{number:02d}_{index}" for index in range(SLICES)]
        groups += [f"patient_{number:02d}"] * SLICES
    return Phantom(np.stack(images), np.stack(masks), ids, groups)


PHANTOMS: dict[str, Callable[[np.random.SeedSequence, int], Phantom]] = {
    "phantom-polyp": _images(polyp),
    "phantom-nuclei": _images(nuclei),
    "phantom-lesion": _images(lesion),
    "phantom-glioma": _patients,
}


def make_phantom(name: str, size: int, seed: int = 0) -> Phantom:
    """Draw a whole phantom data set, directly at its size.

    The same seed shows the same scenes at every size, and gives the same bytes on one machine.

    Args:
        name: one of :data:`PHANTOMS`.
        size: side of the images in pixels, at least 32.
        seed: not negative; another seed draws other images.

    Raises:
        ValueError: the name is unknown, the size too small or the seed negative.
    """
    if name not in PHANTOMS:
        raise ValueError(f"unknown phantom {name!r}; known: {', '.join(PHANTOMS)}")
    if size < MINIMUM_SIZE:
        raise ValueError(f"size must be at least {MINIMUM_SIZE} pixels, got {size}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    # The name belongs to the seed, so that no two data sets share their random numbers.
    return PHANTOMS[name](np.random.SeedSequence([seed, zlib.crc32(name.encode())]), size)
