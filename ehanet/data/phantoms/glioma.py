"""phantom-glioma: axial brain slices in the colours of the LGG collection, by patient.

Red, green and blue stand for pre-contrast, FLAIR and post-contrast, so a tumour is bright and
greenish.  Scalp fat and diploe are brighter, caps of white-matter hyperintensity beside the
ventricles are as green but narrow and paired, and they are no tumour.

A patient is one head: the slices cut the same ellipsoids at neighbouring heights, so skull,
ventricles and tumour change smoothly from slice to slice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehanet.data.textures import Field, Generator, coordinates, noise, outline, over, rotate, shade, step, to_uint8

SLICES = 8
TUMOUR_SLICES = 6
"""Slices with tumour.  Two in eight are empty: a network that finds nothing then scores 0.25, not
more than one that finds everything (an empty mask met by an empty prediction has a Dice of 1)."""

HEIGHT = 0.42
"""Height of the stack of slices, in units of the image's side."""


@dataclass(frozen=True)
class Head:
    """What all slices of a patient share; lengths relative to the image's side."""

    centre: np.ndarray
    radii: np.ndarray
    tilt: float
    tints: np.ndarray
    gain: float
    ventricle: float
    caps: float
    tumour_xyz: np.ndarray
    tumour_radius: float
    tumour_angle: float
    tumour_seed: int
    tumour_gain: float
    oedema: float


def patient(stream: np.random.SeedSequence, size: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The slices of one patient from bottom to top: images and masks as for the other phantoms."""
    scene, cortex, *pixels = stream.spawn(2 + SLICES)
    rng = np.random.default_rng(scene)
    head = _head(rng)
    images, masks = zip(*(_slice(head, height, cortex, np.random.default_rng(child), size)
                          for height, child in zip(np.linspace(-0.5, 0.5, SLICES) * HEIGHT, pixels)))
    return list(images), list(masks)


def _head(rng: Generator) -> Head:
    radius = rng.uniform(0.40, 0.45)
    side = rng.choice((-1.0, 1.0))
    # The tumour ends one to two slices before one end of the stack or the other.
    spacing = HEIGHT / (SLICES - 1)
    lowest = rng.integers(0, SLICES - TUMOUR_SLICES + 1)
    middle = -HEIGHT / 2 + spacing * (lowest + (TUMOUR_SLICES - 1) / 2)
    return Head(
        centre=rng.uniform(0.485, 0.515, 2), radii=radius * np.array([rng.uniform(0.78, 0.86), 1.0]),
        tilt=rng.normal(0, 0.06), gain=rng.uniform(0.88, 1.2),
        tints=np.clip(np.array([0.34, 0.36, 0.33]) + rng.normal(0, 0.028, 3), 0.26, 0.42),
        ventricle=rng.uniform(0.7, 1.2), caps=rng.uniform(0.3, 1.0),
        tumour_xyz=np.array([side * rng.uniform(0.12, 0.19), rng.uniform(-0.17, 0.17), middle]),
        tumour_radius=rng.uniform(0.115, 0.155), tumour_angle=rng.uniform(0, np.pi),
        tumour_seed=int(rng.integers(2 ** 31)), tumour_gain=rng.uniform(0.85, 1.25),
        oedema=rng.uniform(0.012, 0.035))


def _slice(head: Head, height: float, cortex: np.random.SeedSequence, pixels: Generator,
           size: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = coordinates(size)
    # A head narrows towards its vertex.
    shrink = np.sqrt(1 - (np.clip(height + 0.06, 0, None) / 0.42) ** 2)
    u, v = rotate(x - head.centre[0], y - head.centre[1], head.tilt)
    # The same generator for every slice: neighbouring slices show the same gyri, displaced.
    rng = np.random.default_rng(cortex)
    bumps = 0.006 * noise(rng, size, 5)
    rho = np.hypot(u / (head.radii[0] * shrink), v / (head.radii[1] * shrink))
    skin = (1 - rho) * head.radii[0] * shrink + bumps
    brain = skin - 0.055
    image = 0.012 * np.ones((size, size, 3))
    image = _scalp_and_skull(rng, image, skin, head)
    image = over(image, head.tints * head.gain, step(brain, 0.004))
    image = _tissue(rng, image, head, u, v, brain, height)
    image, wall = _ventricles(image, head, u, v, height)
    image = _hyperintensity(image, head, wall, brain, rng)
    image, mask = _tumour(image, head, u, v, brain, wall, height)
    # The receiver coils' uneven sensitivity.
    image = shade(image, 1 + 0.07 * noise(rng, size, 2))
    return to_uint8(image, pixels, grain=0.012), mask.astype(np.uint8)


def _scalp_and_skull(rng: Generator, image: np.ndarray, skin: Field, head: Head) -> np.ndarray:
    """Bright fat, dark bone with a streak of marrow, dark fluid under it."""
    size = image.shape[0]
    patchy = np.clip(0.8 + 0.2 * noise(rng, size, 9, octaves=2), 0.3, 1.2)
    fat = np.array([0.78, 0.74, 0.80]) * head.tints / head.tints.mean()
    image = over(image, fat, step(skin, 0.003) * np.clip(patchy, 0, 1))
    image = over(image, (0.06, 0.06, 0.07), step(skin - 0.024, 0.003))
    marrow = np.exp(-((skin - 0.036) / 0.006) ** 2)
    return over(image, fat * 0.6, 0.5 * marrow * np.clip(patchy, 0, 1))


def _tissue(rng: Generator, image: np.ndarray, head: Head, u: Field, v: Field, brain: Field,
            height: float) -> np.ndarray:
    """Grey matter on the outside and along the sulci, white matter inside, the midline."""
    size = image.shape[0]
    inside = step(brain, 0.004)
    folds, drift = noise(rng, size, 11, octaves=2, gain=0.5), noise(rng, size, 11)
    turn = 5 * height
    field = np.cos(turn) * folds + np.sin(turn) * drift
    # Sulci are zero crossings of a field: dark lines that start at the surface, wind and branch.
    around = np.sin(8 * np.arctan2(v, u) + 1.9 * field + turn)
    near = step(0.070 + 0.035 * folds - brain, 0.03)
    sulcus = np.exp(-(around / 0.24) ** 2) * near
    ribbon = np.exp(-(around / 0.75) ** 2) * near
    depth = np.clip(brain / 0.30 + 0.06 * folds, 0, 1)
    white = head.tints * head.gain * np.array([1.06, 0.90, 1.02])
    image = over(image, white, inside * step(depth - 0.28, 0.16))
    image = over(image, head.tints * head.gain * (0.96, 1.16, 0.96), 0.8 * inside * ribbon)
    image = over(image, (0.09, 0.08, 0.12), 0.75 * inside * sulcus)
    fissure = np.exp(-((u + 0.004 * drift) / 0.006) ** 2) * step(np.abs(v) - 0.13, 0.05)
    return over(image, (0.09, 0.08, 0.13), 0.8 * inside * fissure)


def _ventricles(image: np.ndarray, head: Head, u: Field, v: Field,
                height: float) -> tuple[np.ndarray, Field]:
    """Two curved horns beside the midline, gone near the vertex.

    Returns:
        The image and the signed distance to the wall, positive inside.
    """
    open_ = head.ventricle * np.sqrt(max(0.0, 1 - ((height + 0.03) / 0.17) ** 2))
    horn = np.abs(u) - 0.030 - 0.55 * np.abs(v) ** 1.6
    # Narrow in the middle, wider at the front and back ends.
    along = np.abs(v + 0.01) / (0.15 * max(open_, 0.1))
    thickness = (0.020 + 0.07 * np.abs(v)) * open_ * np.sqrt(np.clip(1 - along ** 2, 0, 1))
    wall = thickness - np.abs(horn) - 0.02 * np.clip(along - 1, 0, None)
    if open_ == 0:
        wall = np.full_like(u, -1.0)
    return over(image, (0.07, 0.07, 0.10), 0.95 * step(wall, 0.004)), wall


def _hyperintensity(image: np.ndarray, head: Head, wall: Field, brain: Field, rng: Generator) -> np.ndarray:
    """White-matter hyperintensity of age: a thin rim round the ventricles and a few small dots."""
    size = image.shape[0]
    rim = np.exp(-((wall + 0.008) / 0.010) ** 2) * (wall < 0)
    dots = step(noise(rng, size, 22) - 2.2, 0.3) * step(brain - 0.09, 0.02)
    return over(image, _flair(head, 1.0), head.caps * np.clip(0.75 * rim + 0.6 * dots, 0, 1))


def _flair(head: Head, gain: float) -> np.ndarray:
    return np.clip(head.tints * head.gain * (0.95, 1.0 + 0.75 * gain, 0.95), 0, 1)


def _tumour(image: np.ndarray, head: Head, u: Field, v: Field, brain: Field, wall: Field,
            height: float) -> tuple[np.ndarray, np.ndarray]:
    size = image.shape[0]
    spacing = HEIGHT / (SLICES - 1)
    offset = (height - head.tumour_xyz[2]) / (spacing * (TUMOUR_SLICES / 2 + 0.15))
    if abs(offset) >= 1:
        return image, np.zeros((size, size), bool)
    rng = np.random.default_rng(head.tumour_seed)
    radius = head.tumour_radius * (1 - offset ** 2) ** 0.35
    warp = 0.016 * noise(rng, size, 9, octaves=3, gain=0.6)
    stretch = 1 + 0.25 * np.sin(head.tumour_angle)
    _, inside = outline(rng, u + warp, v - warp, head.tumour_xyz[:2],
                        (radius * stretch, radius / stretch), head.tumour_angle, 0.10, 6)
    inside = np.minimum(inside, brain - 0.006)
    inside = np.minimum(inside, -wall)
    texture = 0.95 + 0.20 * noise(rng, size, 10, octaves=3, gain=0.7)
    image = over(image, _flair(head, head.tumour_gain) * np.ones(3),
                 0.85 * step(inside + 0.3 * head.oedema, head.oedema) * np.clip(texture, 0, 1.15))
    core = inside - 0.055
    if head.tumour_gain > 1.12:
        # In some a fluid-filled cyst.
        image = over(image, (0.16, 0.20, 0.20), 0.8 * step(core, 0.008))
    return image, inside > 0
