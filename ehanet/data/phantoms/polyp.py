"""phantom-polyp: colonoscopy frames, one or two polyps on mucosa of nearly the same colour.

What a threshold finds first is the lumen, the black frame, the highlights and the residue; what
tells a polyp is its dome, its rim with a shadow, its finer texture and a slight change of hue.
"""

from __future__ import annotations

import numpy as np

from ehanet.data.textures import (Generator, coordinates, noise, outline, over, relief, rotate, shade, step,
                       to_uint8)

MUCOSA = np.array([[0.80, 0.45, 0.39], [0.76, 0.40, 0.33], [0.78, 0.48, 0.32], [0.72, 0.44, 0.40]])
CHANGE_OF_HUE = np.array([[0.07, -0.06, -0.04], [0.05, -0.01, -0.07], [0.07, 0.06, 0.05]])
BLOOD, RESIDUE = (0.55, 0.10, 0.10), (0.78, 0.62, 0.18)


def polyp(rng: Generator, pixels: Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """One frame: uint8 (size, size, 3) and its mask, uint8 0/1 (size, size)."""
    x, y = coordinates(size)
    colour = MUCOSA[rng.integers(len(MUCOSA))] * rng.uniform(0.92, 1.08, 3)
    light = rng.uniform(0, 2 * np.pi)
    grain = noise(rng, size, 12, octaves=3, gain=0.7)
    image = _mucosa(rng, size, colour, light, grain)
    mask = np.zeros((size, size), bool)
    centres: list[np.ndarray] = []
    for _ in range(1 + (rng.random() < 0.25)):
        centre = _place(rng, centres)
        centres.append(centre)
        radius = rng.uniform(0.13, 0.23) if len(centres) == 1 else rng.uniform(0.07, 0.12)
        image, inside = _add_polyp(rng, image, colour, light, centre, radius)
        mask |= inside
    image = _add_distractors(rng, image)
    # The lamp sits beside the lens: brightest near the middle.
    lamp = rng.uniform(0.35, 0.65, 2)
    image = shade(image, 1.12 - 0.75 * ((x - lamp[0]) ** 2 + (y - lamp[1]) ** 2))
    image = _add_highlights(rng, image)
    image, visible = _frame(rng, image)
    return to_uint8(image, pixels, grain=0.012), (mask & visible).astype(np.uint8)


def _mucosa(rng: Generator, size: int, colour: np.ndarray, light: float,
            grain: np.ndarray) -> np.ndarray:
    """Folds around a dark lumen, vessels, fine grain."""
    x, y = coordinates(size)
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.75)
    lumen = 0.5 + distance * np.array([np.cos(angle), np.sin(angle)])
    warp = noise(rng, size, 3, octaves=2)
    depth = np.hypot(x - lumen[0], y - lumen[1]) + 0.035 * warp
    period = rng.uniform(0.16, 0.30)
    wave = (depth / period + rng.uniform()) % 1
    # Each fold rises slowly towards the camera and falls off steeply behind its crest.
    fold = np.where(wave < 0.85, wave / 0.85, (1 - wave) / 0.15)
    soft = noise(rng, size, 4, octaves=2)
    image = colour * np.ones((size, size, 3))
    image = shade(image, 0.80 + 0.30 * fold * np.clip(0.7 + 0.5 * soft, 0, 1.2))
    image = shade(image, relief(noise(rng, size, 4, octaves=2), 0.035, light))
    vessel = noise(rng, size, 5, octaves=2, gain=0.4)
    image = over(image, colour * (0.82, 0.55, 0.58),
                 rng.uniform(0.2, 0.6) * np.exp(-(vessel / 0.10) ** 2) * step(soft + 0.4, 0.4))
    image = shade(image, 1 + 0.02 * grain)
    # Light falls off with the depth; the bottom of the lumen is all but black.
    radius = rng.uniform(0.10, 0.26)
    image = shade(image, 0.55 + 0.45 * step(depth - 1.3 * radius, 0.22))
    return over(image, colour * (0.20, 0.13, 0.12), 0.95 * step(radius - depth, 0.07))


def _place(rng: Generator, taken: list[np.ndarray]) -> np.ndarray:
    centre = rng.uniform(0.28, 0.72, 2)
    if taken and np.hypot(*(centre - taken[0])) < 0.38:
        centre = np.where(taken[0] > 0.5, taken[0] - 0.38, taken[0] + 0.38)
    return centre


def _add_polyp(rng: Generator, image: np.ndarray, colour: np.ndarray, light: float,
               centre: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    size = image.shape[0]
    x, y = coordinates(size)
    stretch = rng.uniform(0.78, 1.25)
    radii = (radius * stretch, radius / stretch)
    rho, inside = outline(rng, x, y, centre, radii, rng.uniform(0, np.pi),
                          rng.uniform(0.03, 0.12), 6)
    lobules = noise(rng, size, round(1.6 / radius), octaves=2)
    dome = np.sqrt(np.clip(1 - rho ** 2, 0, 1)) * radius + 0.012 * rng.uniform(0.3, 1.5) * lobules
    pits = noise(rng, size, 28, octaves=2, gain=0.6)
    change = CHANGE_OF_HUE[rng.integers(len(CHANGE_OF_HUE))] * rng.uniform(0.8, 1.6)
    surface = np.clip(colour + change, 0, 1) * np.ones_like(image)
    surface = shade(surface, (0.55 + 0.45 * relief(dome, 1.0, light + np.pi))
                    * (1.04 - 0.30 * np.clip(rho, 0, 1) ** 4) * (1 + 0.05 * pits))
    # The shadow falls away from the light and a thin dark groove runs round the base.
    u, _ = rotate(x - centre[0], y - centre[1], light)
    ring = np.exp(-(np.clip(-inside, 0, None) / (0.16 * radius)) ** 2) * (inside < 0)
    image = shade(image, 1 - ring * np.clip(0.28 - 0.9 * u / radius * 0.3, 0.05, 0.5))
    return over(image, surface, step(inside, 0.006)), inside > 0


def _add_distractors(rng: Generator, image: np.ndarray) -> np.ndarray:
    """Residue, blood and froth, in some frames."""
    size = image.shape[0]
    field = noise(rng, size, 5, octaves=3)
    kind = rng.random()
    if kind < 0.25:
        image = over(image, RESIDUE, 0.65 * step(field - 1.6, 0.4))
    elif kind < 0.4:
        image = over(image, BLOOD, 0.7 * step(field - 1.7, 0.3))
    return image


def _add_highlights(rng: Generator, image: np.ndarray) -> np.ndarray:
    """Specular highlights: small, often in groups, saturated."""
    size = image.shape[0]
    x, y = coordinates(size)
    where = noise(rng, size, 4)
    glints = noise(rng, size, 30, octaves=2, gain=0.5, stretch=2)
    bright = step(glints - 1.7 - 0.6 * np.clip(1.1 - where, 0, 3), 0.15)
    for _ in range(rng.integers(2, 6)):
        cx, cy = rng.uniform(0.15, 0.85, 2)
        u, v = rotate(x - cx, y - cy, rng.uniform(0, np.pi))
        length = rng.uniform(0.008, 0.035)
        bright = np.maximum(bright, step(length * (1 - np.hypot(u / length, v / (0.4 * length))), 0.004))
    return over(image, (1.0, 0.97, 0.94), 0.95 * bright)


def _frame(rng: Generator, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The black frame with its cut corners, in some frames the box of the position display."""
    size = image.shape[0]
    x, y = coordinates(size)
    cut = rng.uniform(0.70, 0.86)
    u, v = np.abs(x - 0.5), np.abs(y - 0.5)
    border = np.minimum(np.minimum(0.49 - u, 0.49 - v), (cut - u - v) / np.sqrt(2))
    visible = step(border, 0.006)
    box, width, height = rng.random() < 0.4, *rng.uniform(0.18, 0.3, 2)
    if box:
        visible = visible * (1 - ((x < width) & (y > 1 - height)))
    image = shade(image, visible) + 0.015
    # The patient data at the left edge: rows of a few letters, too small to read.
    letters = rng.random((6, 9)) < 0.6
    row, column = (y - 0.16) / 0.035, (x - 0.02) / 0.017
    hit = (row >= 0) & (row < 6) & (column >= 0) & (column < 9) & (row % 1 < 0.55) & (column % 1 < 0.7)
    shown = letters[np.clip(row.astype(int), 0, 5), np.clip(column.astype(int), 0, 8)] & hit
    return over(image, (0.8, 0.8, 0.8), 0.8 * shown), visible > 0.5
