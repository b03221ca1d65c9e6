"""phantom-nuclei: fluorescence and stained tissue, every nucleus in the mask.

Fluorescence: nuclei of very different brightness over an uneven haze, with saturated debris and
glow from other focal planes.  Stained tissue: purple nuclei on pink stroma with white lumina.  In
both something other than the nuclei takes up most of the contrast, so a threshold finds that first.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ehanet.data.textures import (Generator, coordinates, noise, outline, over, rotate, shade, step, to_uint8,
                       window)

STAINED_SHARE = 0.3
STROMA = np.array([[0.83, 0.62, 0.78], [0.78, 0.66, 0.84], [0.86, 0.60, 0.70]])
NUCLEUS = np.array([[0.36, 0.22, 0.56], [0.42, 0.28, 0.62], [0.33, 0.20, 0.46]])
GLASS, ERYTHROCYTE = (0.95, 0.94, 0.96), (0.74, 0.25, 0.32)


def nuclei(rng: Generator, pixels: Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """One field of view: uint8 (size, size, 3) and its mask, uint8 0/1 (size, size)."""
    if rng.random() < STAINED_SHARE:
        image, mask = _stained(rng, size)
        return to_uint8(image, pixels, grain=0.015), mask
    image, mask = _fluorescence(rng, size)
    return to_uint8(image, pixels, grain=0.012, grey=True), mask


def _scatter(rng: Generator, count: int, radius: float, spacing: float) -> np.ndarray:
    """(n, 2) centres, at least ``spacing`` radii apart; part of them drawn together in clusters."""
    hubs = rng.uniform(0.1, 0.9, (3, 2))
    candidates = rng.uniform(-0.02, 1.02, (6 * count, 2))
    drawn = rng.random(6 * count) < 0.35
    near = hubs[rng.integers(3, size=6 * count)] + 0.11 * rng.standard_normal((6 * count, 2))
    candidates[drawn] = near[drawn]
    chosen: list[np.ndarray] = []
    for point in candidates:
        if len(chosen) == count:
            break
        if all(np.hypot(*(point - other)) > spacing * radius for other in chosen):
            chosen.append(point)
    return np.array(chosen)


def _nucleus(rng: Generator, size: int, centre: np.ndarray, radius: float,
             longest: float) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """The window round one nucleus and in it the normalised radius and the signed distance."""
    part = window(size, centre, 2 * longest * radius)
    x, y = coordinates(size)
    stretch = np.exp(rng.uniform(-1, 1) * np.log(longest))
    rho, inside = outline(rng, x[part], y[part], centre, (radius * stretch, radius / stretch),
                          rng.uniform(0, np.pi), 0.05, 4)
    return part, rho, inside


def _fluorescence(rng: Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = coordinates(size)
    radius = rng.uniform(0.042, 0.070)
    centres = _scatter(rng, round(rng.uniform(0.10, 0.20) / (np.pi * radius ** 2)), radius, 1.6)
    level = rng.uniform(0.14, 0.28)
    field = _haze(rng, size, level)
    mask = np.zeros((size, size), bool)
    chromatin = noise(rng, size, 30, octaves=2)
    for centre in centres:
        part, rho, inside = _nucleus(rng, size, centre, radius * rng.uniform(0.8, 1.25), 1.28)
        # Log-uniform: the brightest nucleus outshines the faintest several times over.
        brightness = level * np.exp(rng.uniform(np.log(0.55), np.log(2.2)))
        focus = 0.004 + 0.012 * rng.random() ** 2
        body = (1 - 0.25 * np.clip(rho, 0, 1) ** 2) * (1 + 0.10 * chromatin[part])
        # Light adds up where nuclei overlap.
        field[part] += 0.85 * brightness * body * step(inside, focus, size)
        mask[part] |= inside > 0
    field = field + _glow_and_debris(rng, size, level)
    return np.repeat(np.clip(field, 0, 1)[..., None], 3, axis=2), mask.astype(np.uint8)


def _haze(rng: Generator, size: int, level: float) -> np.ndarray:
    """Uneven background: illumination from one side and autofluorescence."""
    x, y = coordinates(size)
    u, _ = rotate(x - 0.5, y - 0.5, rng.uniform(0, 2 * np.pi))
    uneven = rng.uniform(0.4, 1.2) * (0.5 + u) + 0.25 * noise(rng, size, 3)
    return 0.03 + level * np.clip(uneven, 0, None) * rng.uniform(0.4, 0.9)


def _glow_and_debris(rng: Generator, size: int, level: float) -> np.ndarray:
    """What is bright and no nucleus: broad glow from other planes, small saturated debris."""
    x, y = coordinates(size)
    field = np.zeros((size, size))
    for _ in range(rng.integers(1, 4)):
        cx, cy, spread = *rng.uniform(0, 1, 2), rng.uniform(0.09, 0.17)
        field += rng.uniform(0.8, 1.8) * level * np.exp(
            -((x - cx) ** 2 + (y - cy) ** 2) / (2 * spread ** 2))
    hub = rng.uniform(0.1, 0.9, 2)
    for index in range(rng.integers(7, 15)):
        centre = hub + 0.07 * rng.standard_normal(2) if index < 7 else rng.uniform(0, 1, 2)
        speck = rng.uniform(0.012, 0.030)
        distance = np.hypot(x - centre[0], y - centre[1])
        field += rng.uniform(0.6, 1.0) * step(speck - distance, 0.006)
    return field


def _stained(rng: Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = coordinates(size)
    kind = rng.integers(len(STROMA))
    stroma, purple = STROMA[kind] * rng.uniform(0.95, 1.05, 3), NUCLEUS[kind] * rng.uniform(0.9, 1.1, 3)
    fibres = noise(rng, size, 16, octaves=2, stretch=4)
    uneven = noise(rng, size, 3, octaves=2)
    image = stroma * np.ones((size, size, 3))
    image = shade(image, 1 + 0.06 * fibres + 0.06 * uneven + 0.03 * noise(rng, size, 24, octaves=2))
    # Collagen: pale wavy gaps between the fibres.
    image = over(image, GLASS, 0.45 * np.exp(-(noise(rng, size, 10, octaves=2, stretch=3) / 0.12) ** 2))
    # Tissue with a share of bare glass: lumina, tears, fat.
    hollow = noise(rng, size, 3, octaves=3, gain=0.45)
    glass = step(hollow - np.quantile(hollow, 1 - rng.uniform(0.25, 0.45)), 0.08)
    # Cytoplasm rich in RNA: between stroma and nuclei in colour, in broad patches.
    basophil = step(noise(rng, size, 5, octaves=3) - rng.uniform(0.2, 0.7), 0.35)
    image = over(image, 0.55 * stroma + 0.45 * purple, 0.75 * basophil)
    image = over(image, GLASS, glass)
    mask = np.zeros((size, size), bool)
    radius = rng.uniform(0.038, 0.058)
    centres = _scatter(rng, round(rng.uniform(0.14, 0.24) / (np.pi * radius ** 2)), radius, 1.8)
    chromatin = noise(rng, size, 32, octaves=2)
    for centre in centres:
        part, rho, inside = _nucleus(rng, size, centre, radius * rng.uniform(0.8, 1.2), 1.4)
        paleness = rng.uniform(0.0, 0.4)
        # No cell lies on bare glass.
        if not (inside > 0).any() or glass[part][inside > 0].mean() > 0.4:
            continue
        surface = purple * (1 - paleness) + stroma * paleness
        alpha = step(inside, 0.006, size) * (0.92 + 0.08 * np.clip(rho, 0, 1))
        image[part] = shade(over(image[part], surface, alpha), 1 + 0.08 * chromatin[part] * alpha)
        mask[part] |= inside > 0
    image = _red_cells(rng, image, mask)
    return ndimage.gaussian_filter(image, (0.002 * size, 0.002 * size, 0)), mask.astype(np.uint8)


def _red_cells(rng: Generator, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Erythrocytes: as dark as nuclei in green, of another hue; they pass under the nuclei."""
    x, y = coordinates(image.shape[0])
    hub = rng.uniform(0.15, 0.85, 2)
    for _ in range(rng.integers(4, 14)):
        cx, cy = hub + 0.13 * rng.standard_normal(2)
        cell = step(rng.uniform(0.025, 0.034) - np.hypot(x - cx, y - cy), 0.006)
        image = over(image, ERYTHROCYTE, 0.85 * cell * ~mask)
    return image
