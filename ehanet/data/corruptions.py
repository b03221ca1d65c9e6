"""What goes wrong with a picture between the patient and the network: eleven corruptions, five severities each.

Every corruption draws one random scene from (seed, name) - a direction of motion, a set of hairs - and the severity only says how
strong it is, so that a curve over severities follows one scene. Lengths are fractions of the image's longer side. Where the parameters
of ImageNet-C (Hendrycks and Dietterich, ICLR 2019) suit medical images they are taken, lengths divided by its side of 224 pixels;
where they would leave nothing to segment, milder ones stand, and the comment beside them says so. All code is written anew.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy.signal import fftconvolve

from ehanet.data.textures import coordinates, noise, outline, over, shade, step, stroke, window

SEVERITIES = (1, 2, 3, 4, 5)
MINIMUM_SIDE = 32

NOISE = (0.04, 0.08, 0.12, 0.18, 0.26)  # standard deviation in [0, 1]; ImageNet-C begins at 0.08
MOTION = (0.025, 0.04, 0.06, 0.08, 0.11)  # length of a straight path; ours, about the reach of ImageNet-C's one-sided Gaussians
DEFOCUS = tuple(radius / 224 for radius in (3, 4, 6, 8, 10))  # radius of the disc; ImageNet-C
JPEG = (25, 18, 15, 10, 7)  # quality; ImageNet-C
JPEG_SIDE = 224  # smaller images are enlarged to this for the codec, so that its blocks of 8 pixels are as large as ImageNet-C's
BRIGHTNESS = (0.5, 1.0, 1.5, 2.0, 2.5)  # stops of light too much or, as often, too little; ours, since ImageNet-C's added value colours black corners
GAMMA = 2.2  # of the camera: a stop of light is a factor of 2 ** (1 / 2.2) on the stored values
CONTRAST = (0.75, 0.6, 0.45, 0.3, 0.2)  # factor about the mean; ours, since ImageNet-C's 0.4 to 0.05 leave a medical image flat
CAST = (0.05, 0.1, 0.16, 0.23, 0.3)  # root mean square of the channels' log gains, which sum to zero; ours
HIGHLIGHTS = ((4, 0.6), (8, 0.8), (13, 1.0), (20, 1.2), (30, 1.45))  # number of spots, factor on their size; ours
HAIRS = (3, 7, 13, 21, 32)  # number; ours
BIAS = (0.15, 0.25, 0.4, 0.55, 0.7)  # largest log gain; ours: TorchIO's cubic polynomial with coefficients up to 0.5 lies in this range
RESOLUTION = (0.6, 0.5, 0.4, 0.3, 0.25)  # of the side; ImageNet-C's pixelate, but enlarged bilinearly as a loader would


def corrupt(image: np.ndarray, name: str, severity: int, seed: int = 0) -> np.ndarray:
    """The corrupted image; the same arguments give the same bytes.

    Args:
        image: uint8 (H, W, 3), at least 32 pixels on each side.
        name: one of :data:`CORRUPTIONS`.
        severity: 1 (mild) to 5.
        seed: another seed draws another scene: give each image its own.

    Returns:
        uint8 (H, W, 3), a new array.

    Raises:
        ValueError: another dtype, shape or size, an unknown name, a severity that is not 1 to 5, a negative seed.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < MINIMUM_SIDE:
        raise ValueError(f"corrupt: expected an image uint8 (H, W, 3) of at least {MINIMUM_SIDE} x {MINIMUM_SIDE} pixels, got {image.dtype} {image.shape}")
    if name not in _CORRUPTIONS:
        raise ValueError(f"unknown corruption {name!r}; known: {', '.join(CORRUPTIONS)}")
    if not _is_whole(severity) or severity not in SEVERITIES:
        raise ValueError(f"severity must be a whole number from 1 to 5, got {severity!r}")
    if not _is_whole(seed) or seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0, got {seed!r}")
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    function, strengths = _CORRUPTIONS[name]
    changed = function(image / 255, strengths[severity - 1], rng)
    return np.rint(np.clip(changed, 0, 1) * 255).astype(np.uint8)


def _noise(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """White Gaussian noise; a grey image stays grey."""
    grey = (image == image[..., :1]).all()
    return image + deviation * rng.standard_normal((*image.shape[:2], 1 if grey else 3))


def _motion(image: np.ndarray, length: float, rng: np.random.Generator) -> np.ndarray:
    """The camera moved straight while the shutter was open."""
    angle, length = rng.uniform(0, np.pi), length * max(image.shape[:2])
    way = np.linspace(-length / 2, length / 2, 8 * int(length) + 9)
    return _convolve(image, _splat(way * np.cos(angle), way * np.sin(angle)))


def _defocus(image: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Out of focus: every point becomes a disc."""
    radius = radius * max(image.shape[:2])
    line = np.linspace(-radius, radius, 8 * int(radius) + 17)
    x, y = np.meshgrid(line, line)
    inside = np.hypot(x, y) <= radius
    return _convolve(image, _splat(x[inside], y[inside]))


def _splat(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A kernel of sum 1 from points in pixels about its centre; each is shared by its four neighbours, so no length is rounded."""
    reach = int(np.ceil(max(np.abs(x).max(), np.abs(y).max()))) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    for down in (0, 1):
        for right in (0, 1):
            np.add.at(kernel, (reach + top + down, reach + left + right), np.abs(1 - down - (y - top)) * np.abs(1 - right - (x - left)))
    return kernel / kernel.sum()


def _convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Filter each channel; beyond the border the image is mirrored."""
    reach = len(kernel) // 2
    padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="symmetric")
    return fftconvolve(padded, kernel[..., None], mode="valid", axes=(0, 1))


def _jpeg(image: np.ndarray, quality: int, rng: np.random.Generator) -> np.ndarray:
    picture = _picture(image)
    factor = max(1, -(-JPEG_SIDE // max(picture.size)))
    file = io.BytesIO()
    picture.resize((factor * picture.width, factor * picture.height), Image.Resampling.BICUBIC).save(file, "jpeg", quality=quality)
    with Image.open(file) as decoded:
        return np.asarray(decoded.resize(picture.size, Image.Resampling.BOX)) / 255


def _resolution(image: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Reduced by area, enlarged again bilinearly."""
    picture = _picture(image)
    small = picture.resize((round(scale * picture.width), round(scale * picture.height)), Image.Resampling.BOX)
    return np.asarray(small.resize(picture.size, Image.Resampling.BILINEAR)) / 255


def _picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(image * 255).astype(np.uint8))


def _brightness(image: np.ndarray, stops: float, rng: np.random.Generator) -> np.ndarray:
    """Over- or underexposed, by the seed."""
    return image * 2 ** (stops * rng.choice((-1, 1)) / GAMMA)


def _contrast(image: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    mean = image.mean(axis=(0, 1))
    return mean + factor * (image - mean)


def _colour_cast(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A wrong white balance, or another stain: gains of the three channels whose logarithms sum to zero."""
    angle = rng.uniform(0, 2 * np.pi)
    gains = np.sqrt(2) * np.cos(angle + 2 * np.pi * np.arange(3) / 3)
    return image * np.exp(strength * gains)


def _highlights(image: np.ndarray, amount: tuple[int, float], rng: np.random.Generator) -> np.ndarray:
    """Reflections of the lamp on wet tissue: white, irregular, in groups, each with a faint glow. Stronger ones are more and larger."""
    number, scale = amount
    side, crop = _square(image)
    x, y = coordinates(side)
    covered, glow = np.zeros((side, side)), np.zeros((side, side))
    for index in range(number):
        group = rng.uniform(0.1, 0.9, 2) if index % 4 == 0 else group
        centre, length, stretch = group + rng.normal(0, 0.07, 2), scale * rng.uniform(0.01, 0.03), rng.uniform(0.25, 0.8)
        part = window(side, centre, 4 * length)
        inside = outline(rng, x[part], y[part], centre, (length, length * stretch), rng.uniform(0, np.pi), 0.16, 5)[1]
        covered[part] = np.maximum(covered[part], step(inside, 0.003, side))
        glow[part] = np.maximum(glow[part], 0.35 * np.exp(-(np.clip(-inside, 0, None) / (0.8 * length)) ** 2))
    return over(over(image, (1.0, 0.97, 0.93), glow[crop]), (1.0, 1.0, 0.98), covered[crop])


def _hair(image: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Dark curved hairs across the field of view, of one colour, with a main direction."""
    side, crop = _square(image)
    x, y = coordinates(side)
    direction = rng.uniform(0, 2 * np.pi)
    colour = np.array([0.16, 0.10, 0.07]) * rng.uniform(0.4, 1.4)
    seen = np.ones((side, side))
    for _ in range(number):
        start, angle = rng.uniform(-0.05, 1.05, 2), direction + rng.normal(0, 0.55) + np.pi * (rng.random() < 0.3)
        length, bend, width = rng.uniform(0.35, 0.9), rng.normal(0, 0.6), rng.uniform(0.003, 0.006)
        seen *= 1 - 0.9 * np.clip(stroke(x, y, start, angle, length, bend, width), 0, 1)
    return over(image, colour, (1 - seen)[crop])


def _bias_field(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth gain: the receive coil of a scanner, or an uneven lamp."""
    side, crop = _square(image)
    field = noise(rng, side, 2)[crop]
    field = 2 * (field - field.min()) / np.ptp(field) - 1
    return shade(image, np.exp(strength * field))


def _square(image: np.ndarray) -> tuple[int, tuple[slice, slice]]:
    """Side of the square that what is drawn covers, and the image's place in its middle."""
    height, width = image.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    return side, (slice(top, top + height), slice(left, left + width))


_CORRUPTIONS: dict[str, tuple[Callable, tuple]] = {
    "noise": (_noise, NOISE),
    "motion blur": (_motion, MOTION),
    "defocus": (_defocus, DEFOCUS),
    "jpeg": (_jpeg, JPEG),
    "brightness": (_brightness, BRIGHTNESS),
    "contrast": (_contrast, CONTRAST),
    "colour cast": (_colour_cast, CAST),
    "specular highlights": (_highlights, HIGHLIGHTS),
    "hair": (_hair, HAIRS),
    "bias field": (_bias_field, BIAS),
    "smaller resolution": (_resolution, RESOLUTION),
}
CORRUPTIONS = tuple(_CORRUPTIONS)
# What does not happen to a modality: no hair in a colon, no lamp and no lens in a scanner.
_NEVER = {
    ("kvasir-seg", "cvc-clinicdb", "phantom-polyp"): ("hair",),
    ("dsb2018", "phantom-nuclei"): ("specular highlights", "hair"),
    ("lgg", "phantom-glioma"): ("defocus", "jpeg", "colour cast", "specular highlights", "hair"),
}


def _is_whole(value) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def occurring(dataset: str) -> list[str]:
    """The corruptions that occur in the modality of ``dataset``; all of them for a data set that is not known here."""
    never = next((kinds for names, kinds in _NEVER.items() if dataset in names), ())
    return [name for name in CORRUPTIONS if name not in never]
