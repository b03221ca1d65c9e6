"""phantom-lesion: dermoscopy, one pigmented lesion on skin.

The lesion has an irregular, partly fading border and several shades of brown.  Dark corners, hairs,
ruler, ink and gel bubbles take up more contrast than it does in most images.
"""

from __future__ import annotations

import numpy as np

from ehanet.data.textures import (Generator, coordinates, noise, outline, over, rotate, shade, step, stroke,
                       to_uint8)

SKIN = np.array([[0.84, 0.68, 0.60], [0.80, 0.60, 0.52], [0.76, 0.62, 0.50], [0.88, 0.76, 0.71],
                 [0.68, 0.50, 0.40]])
BROWNS = np.array([[0.58, 0.34, 0.20], [0.46, 0.24, 0.14], [0.34, 0.17, 0.12], [0.62, 0.36, 0.29],
                   [0.24, 0.14, 0.13]])
BLUE_GREY, INK = (0.40, 0.41, 0.50), (0.42, 0.32, 0.62)
STICKER = np.array([[0.35, 0.72, 0.68], [0.62, 0.62, 0.85], [0.85, 0.68, 0.30]])


def lesion(rng: Generator, pixels: Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """One image: uint8 (size, size, 3) and its mask, uint8 0/1 (size, size)."""
    x, y = coordinates(size)
    skin = SKIN[rng.integers(len(SKIN))] * rng.uniform(0.95, 1.05, 3)
    image = _skin(rng, size, skin)
    image, inside = _add_lesion(rng, image, skin)
    image = _add_marks(rng, image)
    image = _add_bubbles(rng, image)
    image = _add_hairs(rng, image)
    # Uneven light, then the round tube of the dermatoscope.
    u, _ = rotate(x - 0.5, y - 0.5, rng.uniform(0, 2 * np.pi))
    image = shade(image, 1 + rng.uniform(0.0, 0.35) * u)
    image = _dark_corners(rng, image)
    return to_uint8(image, pixels, grain=0.01), (inside > 0).astype(np.uint8)


def _skin(rng: Generator, size: int, skin: np.ndarray) -> np.ndarray:
    image = skin * np.ones((size, size, 3))
    image = shade(image, 1 + 0.03 * noise(rng, size, 3, octaves=2))
    # Redness and sun-tanned patches, which are no lesion.
    image = over(image, skin * (0.98, 0.72, 0.70), 0.45 * step(noise(rng, size, 5, octaves=2), 1.2))
    image = over(image, skin * (0.80, 0.70, 0.62), 0.45 * step(noise(rng, size, 4, octaves=3) - 0.8, 0.6))
    # The net of fine furrows.
    furrows = np.abs(noise(rng, size, 26, octaves=2, stretch=2))
    image = shade(image, 1 - 0.06 * np.exp(-(furrows / 0.2) ** 2))
    freckles = noise(rng, size, 20)
    return over(image, skin * (0.82, 0.70, 0.62), 0.5 * step(freckles - 2.4, 0.4))


def _add_lesion(rng: Generator, image: np.ndarray, skin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size = image.shape[0]
    x, y = coordinates(size)
    centre, radius, stretch = rng.uniform(0.36, 0.64, 2), rng.uniform(0.11, 0.26), rng.uniform(0.8, 1.25)
    warp_x, warp_y = (0.018 * noise(rng, size, 7, octaves=3) for _ in range(2))
    rho, inside = outline(rng, x + warp_x, y + warp_y, centre, (radius * stretch, radius / stretch),
                          rng.uniform(0, np.pi), rng.uniform(0.05, 0.16), 7)
    darkness = rng.uniform(0.30, 0.95)
    first, second = BROWNS[rng.choice(len(BROWNS), 2, replace=False)]
    patches = step(noise(rng, size, 6, octaves=3, gain=0.7), 1.2)[..., None]
    colour = first * (1 - patches) + second * patches
    colour = over(colour, BROWNS[4], 0.7 * step(noise(rng, size, 6, octaves=2) - 1.0, 0.3))
    if rng.random() < 0.2:
        colour = over(colour, BLUE_GREY, 0.7 * step(noise(rng, size, 5) - 0.8, 0.3))
    # Pigment network: a mesh of thin dark lines, strongest towards the border.
    mesh = np.abs(noise(rng, size, 24, octaves=2, gain=0.5))
    network = rng.uniform(0.1, 0.5) * np.exp(-(mesh / 0.25) ** 2) * np.clip(rho, 0.3, 1)
    colour = shade(colour, 1 - network + 0.05 * noise(rng, size, 24, octaves=2))
    fade = rng.uniform(0.008, 0.045)
    pigment = 0.65 + 0.35 * step(noise(rng, size, 4), 0.8)
    alpha = darkness * pigment * step(inside + 0.3 * fade, fade)
    # A pink halo of irritated skin, outside the mask.
    halo = np.exp(-(np.clip(-inside, 0, None) / 0.05) ** 2) * (rng.random() < 0.4)
    image = over(image, skin * (1.02, 0.82, 0.80), 0.4 * halo)
    return over(image, colour, alpha), inside


def _add_marks(rng: Generator, image: np.ndarray) -> np.ndarray:
    """Ruler, ink or a coloured sticker at the edge."""
    size = image.shape[0]
    x, y = coordinates(size)
    kind = rng.random()
    if kind < 0.35:
        u, v = rotate(x - 0.5, y - 0.5, rng.uniform(-0.5, 0.5))
        v, u = v - rng.uniform(0.28, 0.40), u - rng.uniform(-0.1, 0.1)
        width = max(0.005, 0.6 / size)
        along = np.abs(u) < 0.36
        line = along * step(width - np.abs(v), 0.002)
        index = np.round(u / 0.04)
        tall = np.where(index % 5 == 0, 0.05, 0.025)
        ticks = along * (np.abs(u - 0.04 * index) < width) * (v < 0) * (v > -tall)
        image = over(image, (0.16, 0.14, 0.14), 0.8 * np.maximum(line, ticks))
    elif kind < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        cx, cy = 0.5 + 0.40 * np.cos(angle), 0.5 + 0.40 * np.sin(angle)
        u, v = rotate(x - cx, y - cy, rng.uniform(0, np.pi))
        scribble = np.abs(v - 0.05 * np.sin(u * rng.uniform(30, 70))) + 0.01 * noise(rng, size, 20)
        image = over(image, INK, 0.65 * step(0.018 - scribble, 0.01) * step(0.2 - np.abs(u), 0.03))
    elif kind < 0.7:
        angle = rng.uniform(0, 2 * np.pi)
        cx, cy = 0.5 + 0.62 * np.cos(angle), 0.5 + 0.62 * np.sin(angle)
        distance = np.hypot(x - cx, y - cy)
        image = shade(image, 1 - 0.25 * np.exp(-(np.clip(distance - 0.25, 0, None) / 0.02) ** 2))
        image = over(image, STICKER[rng.integers(len(STICKER))], step(0.25 - distance, 0.004))
    return image


def _add_bubbles(rng: Generator, image: np.ndarray) -> np.ndarray:
    """Bubbles in the contact gel: bright rings with a glint."""
    x, y = coordinates(image.shape[0])
    for _ in range(rng.integers(0, 6)):
        cx, cy, radius = *rng.uniform(0.05, 0.95, 2), rng.uniform(0.012, 0.05)
        distance = np.hypot(x - cx, y - cy)
        ring = np.exp(-((distance - radius) / 0.006) ** 2)
        glint = np.exp(-((x - cx + 0.4 * radius) ** 2 + (y - cy + 0.4 * radius) ** 2) / (0.25 * radius) ** 2)
        image = over(image, (0.97, 0.95, 0.93), np.clip(0.45 * ring + 0.7 * glint, 0, 1))
        image = shade(image, 1 - 0.10 * step(radius - distance, 0.004))
    return image


def _add_hairs(rng: Generator, image: np.ndarray) -> np.ndarray:
    x, y = coordinates(image.shape[0])
    count = rng.integers(6, 16) if rng.random() < 0.45 else rng.integers(0, 4)
    direction = rng.uniform(0, 2 * np.pi)
    colour = np.array([0.16, 0.11, 0.09]) * rng.uniform(0.6, 2.2)
    for _ in range(count):
        hair = stroke(x, y, rng.uniform(-0.1, 1.0, 2), direction + rng.normal(0, 0.5),
                      rng.uniform(0.3, 1.0), rng.uniform(-0.5, 0.5), rng.uniform(0.005, 0.010))
        image = over(image, colour, 0.85 * hair)
    return image


def _dark_corners(rng: Generator, image: np.ndarray) -> np.ndarray:
    x, y = coordinates(image.shape[0])
    distance = np.hypot(x - 0.5, y - 0.5)
    if rng.random() < 0.75:
        # The tube itself: a hard black rim.
        rim = rng.uniform(0.50, 0.57)
        image = shade(image, 1 - 0.35 * step(distance - 0.85 * rim, 0.12))
        return over(image, (0.05, 0.04, 0.04), step(distance - rim, rng.uniform(0.004, 0.02)))
    return shade(image, 1 - rng.uniform(0.4, 0.75) * step(distance - 0.52, 0.16))
