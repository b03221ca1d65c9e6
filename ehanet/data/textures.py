"""Building blocks of what is drawn by code: coordinates, noise, outlines, strokes, compositing.

Geometry is in relative units: x and y run from 0 to 1 across the image.  Random numbers are drawn
in amounts that do not depend on the size, so the same seed shows the same scene at any size; only
:func:`to_uint8` draws noise pixel by pixel, from a generator of its own.

Images are float64 (H, W, 3) in [0, 1], fields float64 (H, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

Field = np.ndarray
Generator = np.random.Generator


@lru_cache(maxsize=8)
def coordinates(size: int) -> tuple[Field, Field]:
    """x and y of the pixel centres, two read-only (size, size) arrays."""
    line = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(line, line)
    x.flags.writeable = y.flags.writeable = False
    return x, y


@lru_cache(maxsize=64)
def _spline_matrix(size: int, cells: int) -> np.ndarray:
    """(size, cells + 3): cubic B-spline weights of the lattice points at the pixel centres."""
    position = (np.arange(size) + 0.5) / size * cells
    first = np.minimum(position.astype(int), cells - 1)
    t = position - first
    weights = np.stack([(1 - t) ** 3, 3 * t ** 3 - 6 * t ** 2 + 4,
                        -3 * t ** 3 + 3 * t ** 2 + 3 * t + 1, t ** 3], axis=1) / 6
    matrix = np.zeros((size, cells + 3))
    np.put_along_axis(matrix, first[:, None] + np.arange(4), weights, axis=1)
    return matrix


def noise(rng: Generator, size: int, cells: int, octaves: int = 1, gain: float = 0.5,
          stretch: int = 1) -> Field:
    """Smooth noise of mean 0 and about unit variance.

    Args:
        cells: lattice cells across the image in the first octave; every octave doubles them.
        gain: amplitude of an octave relative to the one before.
        stretch: how many times longer the grain is along x than along y.

    Octaves too fine for ``size`` are left out (their numbers are drawn all the same).
    """
    field = np.zeros((size, size))
    power, amplitude = 0.0, 1.0
    for _ in range(octaves):
        across = max(1, cells // stretch)
        lattice = rng.standard_normal((cells + 3, across + 3))
        power += amplitude ** 2
        if cells <= size / 2 or cells == 1:
            field += amplitude * (_spline_matrix(size, cells) @ lattice
                                  @ _spline_matrix(size, across).T)
        cells, amplitude = 2 * cells, amplitude * gain
    # A cubic B-spline of unit white noise has a variance of about (0.479)^2 in two dimensions.
    return field / (0.479 * np.sqrt(power))


def window(size: int, centre: Sequence[float], reach: float) -> tuple[slice, slice]:
    """The part of an image (rows, columns) within ``reach`` of a centre (x, y); may be empty."""
    low = np.clip(np.floor((np.asarray(centre) - reach) * size), 0, size).astype(int)
    high = np.clip(np.ceil((np.asarray(centre) + reach) * size), 0, size).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def step(field: Field, width: float | Field = 0.0, size: int | None = None) -> Field:
    """0 below, 1 above zero, with a smooth passage about ``width`` wide on each side.

    ``field`` is a signed distance in relative units; the passage is never thinner than a pixel of
    the whole image, whose ``size`` is needed where ``field`` is a window of it.
    """
    width = np.maximum(width, 1 / (2 * (size or field.shape[0])))
    t = np.clip(field / (2 * width) + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def outline(rng: Generator, x: Field, y: Field, centre: Sequence[float], radii: Sequence[float],
            angle: float, roughness: float, harmonics: int) -> tuple[Field, Field]:
    """A closed irregular outline: an ellipse whose radius carries random harmonics.

    Returns:
        The normalised radius rho (1 on the outline, 0 in the centre) and the approximate signed
        distance to it in relative units, positive inside.
    """
    order = np.arange(2, 2 + harmonics)
    amplitude = roughness * rng.standard_normal(harmonics) / order ** 0.8
    phase = rng.uniform(0, 2 * np.pi, harmonics)
    u, v = rotate(x - centre[0], y - centre[1], angle)
    u, v = u / radii[0], v / radii[1]
    theta = np.arctan2(v, u)
    edge = np.ones_like(theta)
    for k, a, p in zip(order, amplitude, phase):
        edge += a * np.cos(k * theta + p)
    rho = np.hypot(u, v) / np.maximum(edge, 0.35)
    return rho, (1 - rho) * float(np.sqrt(radii[0] * radii[1]))


def rotate(x: Field, y: Field, angle: float) -> tuple[Field, Field]:
    """Coordinates along and across a direction."""
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * x + sin * y, cos * y - sin * x


def stroke(x: Field, y: Field, start: Sequence[float], angle: float, length: float,
           bend: float, width: float) -> Field:
    """Coverage of a hair-like stroke: a cubic curve of ``length`` beginning at ``start``.

    Thinner than a pixel it becomes fainter, not thinner, as in a real camera.
    """
    u, v = rotate(x - start[0], y - start[1], angle)
    t = np.clip(u / length, 0, 1)
    path = bend * length * (t ** 2 - 0.6 * t ** 3)
    slope = bend * (2 * t - 1.8 * t ** 2)
    distance = np.abs(v - path) / np.hypot(1, slope)
    pixel = 1 / x.shape[0]
    visible = np.maximum(width, pixel)
    taper = 1 - 0.6 * t
    ends = step(u) * step(length - u)
    return np.clip(1 - distance / visible + 0.3, 0, 1) * ends * taper * min(1.0, width / pixel + 0.15)


def over(image: np.ndarray, colour: Sequence[float] | np.ndarray, alpha: Field) -> np.ndarray:
    """``colour`` laid over the image with opacity ``alpha`` (H, W)."""
    alpha = alpha[..., None]
    return image * (1 - alpha) + np.asarray(colour) * alpha


def shade(image: np.ndarray, factor: Field) -> np.ndarray:
    """The image made brighter or darker by a factor a pixel."""
    return image * factor[..., None]


def relief(height: Field, strength: float, light: float) -> Field:
    """Lambert shading about 1 of a height map, lit from direction ``light`` (radians).

    ``strength`` is the height of one unit relative to the image's side.
    """
    size = height.shape[0]
    down, right = np.gradient(height * strength * size)
    return 1 + (right * np.cos(light) + down * np.sin(light)) / np.sqrt(1 + right ** 2 + down ** 2)


def to_uint8(image: np.ndarray, rng: Generator, grain: float = 0.0, grey: bool = False) -> np.ndarray:
    """Camera noise of standard deviation ``grain``, then uint8 (H, W, 3)."""
    height, width, _ = image.shape
    speckle = grain * rng.standard_normal((height, width, 1 if grey else 3))
    return np.round(np.clip(image + speckle, 0, 1) * 255).astype(np.uint8)
