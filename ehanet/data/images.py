"""Decode one image or mask and squash it to a square.

Images become uint8 RGB, masks become 0/1. A mask is binarised at its original size, then averaged over the exact area of
each target pixel and set where at least half of that area is foreground.
"""

from __future__ import annotations

import io
import os
import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit cannot be raised by a user; ours below can
PIXEL_LIMIT = 120_000_000  # the largest ISIC photographs hold 30 million pixels
LARGE = 32_000_000  # pixels
_LARGE_LOCK = threading.RLock()
# Pillow knows more; one of them, EPS, is a program, for Ghostscript to run.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
JPEG_SUFFIXES = (".jpg", ".jpeg")


def pixel_limit() -> int:
    """Largest accepted image in pixels; the environment variable EHANET_MAX_PIXELS overrides the default."""
    text = os.environ.get("EHANET_MAX_PIXELS", "")
    if text and not text.isdigit():
        raise ValueError(f"EHANET_MAX_PIXELS must be a whole number of pixels, got {text!r}")
    return int(text) if text else PIXEL_LIMIT


def large_alone(data: bytes, name: str) -> AbstractContextManager:
    """A lock to hold while an image beyond ``LARGE`` pixels is decoded and squashed: threads that each take 20 bytes a pixel would exhaust the memory.

    Raises:
        ValueError: as :func:`decode_image`.
    """
    width, height = _open(data, name, load=False).size
    return _LARGE_LOCK if width * height > LARGE else nullcontext()


def _open(data: bytes, name: str, load: bool = True) -> Image.Image:
    """Decode ``data``, fully or its header; anything unreadable is a ValueError that names the file."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > pixel_limit():
            raise _TooLarge(
                f"{name}: {width} x {height} pixels exceed the limit of {pixel_limit()}; "
                "set EHANET_MAX_PIXELS higher if the file is genuine"
            )
        if load:
            image.load()
    except (_TooLarge, MemoryError):
        raise
    except Exception as error:  # on damaged bytes Pillow's readers raise anything
        reason = "unknown format" if isinstance(error, Image.UnidentifiedImageError) else " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{name}: not a readable image ({reason}); fetch or export the file again") from error
    return image


class _TooLarge(ValueError):
    """Over the pixel limit."""


class Header(NamedTuple):
    """Pillow's name of the format, and the EXIF orientation (CIPA DC-008, tag 274); 1 is upright, 2 to 8 are turned or mirrored."""

    format: str
    orientation: int


def read_header(data: bytes, name: str) -> Header:
    """Format and orientation of a file that holds one image; what cannot be read is left for the decoder to name.

    Raises:
        ValueError: an animation or several pages.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # MPO: a phone's JPEG with its previews
            header = Header(image.format, image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # on damaged bytes Pillow's readers raise anything
        return Header("", 1)
    if frames > 1:
        raise ValueError(f"{name}: holds {frames} images (an animation or several pages); save the one you mean as PNG or JPEG")
    return header


def _check_own(data: bytes, name: str) -> None:
    """One upright image in the file: a mask is drawn on what a viewer shows, which turns the image, or on what is stored, and nothing in the pair says which."""
    orientation = read_header(data, name).orientation
    if orientation in range(2, 9):  # what others mean no viewer knows
        raise ValueError(f"{name}: stored turned or mirrored (EXIF orientation {orientation}), so that image and mask may not fit; save it upright")


def _converted(image: Image.Image, mode: str, name: str) -> Image.Image:
    try:
        return image.convert(mode)
    except ValueError as error:
        raise ValueError(f"{name}: the colour space {image.mode} cannot be read; export the file as RGB") from error


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Image file -> uint8 (H, W, 3).

    Alpha is dropped, grey repeated. Integers wider than 8 bits are scaled from 12 bits where the maximum fits, else from 16;
    floating pixels must lie in [0, 1] or [0, 255].

    Raises:
        ValueError: unreadable, over the pixel limit, or values that are not an image's (NaN, negative, out of range).
    """
    image = _open(data, name)
    if _is_wide(image):
        grey = _grey_to_uint8(np.asarray(image), name)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.asarray(_converted(image, "RGB", name))


def wide_range(data: bytes, name: str) -> float | None:
    """The largest value of the range that :func:`decode_image` takes a grey image of more than 8 bits to have, None for other images."""
    image = _open(data, name, load=False)  # an ordinary image is decoded once, for its pixels
    return _range(np.asarray(image), name) if _is_wide(image) else None


def _is_wide(image: Image.Image) -> bool:
    return image.mode in ("F", "I") or image.mode.startswith("I;16")


def decode_own_image(data: bytes, name: str) -> np.ndarray:
    """Image of a user's own folder -> uint8 (H, W, 3), as :func:`decode_image`.

    Raises:
        ValueError: also several images in one file, or an EXIF orientation other than upright.
    """
    _check_own(data, name)
    return decode_image(data, name)


def _grey_to_uint8(values: np.ndarray, name: str) -> np.ndarray:
    return np.rint(values.astype(np.float64) * (255.0 / _range(values, name))).astype(np.uint8)


def _range(values: np.ndarray, name: str) -> float:
    """The largest value of the smallest known range, from 0, that holds all values."""
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: the image holds NaN or infinite values; export it with finite pixels")
    low, high = float(values.min()), float(values.max())
    if np.issubdtype(values.dtype, np.floating):
        tops = (1.0, 255.0)
    else:
        tops = (255.0, 4095.0, 65535.0)
    top = next((top for top in tops if high <= top), None)
    if low < 0 or top is None:
        raise ValueError(f"{name}: pixel values from {low:g} to {high:g} fit none of the ranges 0 to {', '.join(f'{t:g}' for t in tops)}")
    return top


def decode_mask(data: bytes, name: str) -> np.ndarray:
    """Mask of a published data set -> bool (H, W): luminance above 127 (Kvasir-SEG's JPEG masks hold values between 0 and 255)."""
    return np.asarray(_converted(_open(data, name), "L", name)) > 127


def decode_own_mask(data: bytes, name: str) -> np.ndarray:
    """Mask of a user's own folder -> bool (H, W).

    JPEG: above 127. Palette images: any index but 0 where the palette has colours, else by their greys. Lossless files: where at
    most one value besides 0 occurs (0/1, 0/255, 0/128), that value is foreground; with more values (soft edges) above half of the
    full range. Colours count by their brightest channel, alpha is dropped.

    Raises:
        ValueError: unreadable, several values of which none reaches half of the range (a label map of several classes), several
            images in one file, or an EXIF orientation other than upright.
    """
    _check_own(data, name)
    image = _open(data, name)
    greys = _palette_greys(image) if image.mode == "P" else None
    if image.mode in ("P", "1") and greys is None:
        return np.asarray(image) > 0
    if image.mode in ("LA", "RGBA", "PA", "La", "RGBa"):
        image = _converted(image, "L" if image.mode in ("LA", "La") else "RGB", name)
    values = greys if greys is not None else np.asarray(image if image.mode in ("L", "RGB", "F", "I") or image.mode.startswith("I;16") else _converted(image, "RGB", name))
    if values.ndim == 3:
        values = values.max(axis=2)
    if PurePosixPath(name).suffix.lower() in JPEG_SUFFIXES:
        return values > 127
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: the mask holds NaN or infinite values; use 0 and 255")
    levels = np.unique(values)
    foreground = levels[levels != 0]
    if len(foreground) <= 1:
        return values != 0
    if np.issubdtype(values.dtype, np.floating):
        half = 0.5 if levels[-1] <= 1 else 127.5
    else:
        half = 127.5 if levels[-1] <= 255 else 32767.5
    if levels[0] < 0 or levels[-1] <= half:
        raise ValueError(f"{name}: the mask holds the values {', '.join(f'{v:g}' for v in levels[:6])}...; make it binary (0 and 255) first")
    return values > half


def _palette_greys(image: Image.Image) -> np.ndarray | None:
    """A palette image by its greys, uint8 (H, W), since white may be index 0 (Pillow's quantize); None where they say less than the indices do:
    colours are in use, or one grey for several indices."""
    indices, palette = np.asarray(image), np.zeros((256, 3), np.uint8)
    given = np.array(image.getpalette() or [], np.uint8)[:768]
    palette.reshape(-1)[: len(given)] = given
    used = np.unique(indices)
    colours = np.unique(palette[used], axis=0)
    if np.ptp(colours, axis=1).any() or len(colours) == 1 < len(used):
        return None
    return palette[indices, 0]


def squash_image(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 (H, W, 3) -> uint8 (size, size, 3), bilinear with antialiasing (Pillow widens the filter when shrinking)."""
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def squash_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """bool (H, W) -> uint8 0/1 (size, size): exact area average, then >= 0.5.

    Integer arithmetic throughout, so that a tie at one half is decided alike on every machine.
    """
    height, width = mask.shape
    wide = np.int32 if height * width * size < 2**31 else np.int64  # the largest running sum of the second pass
    covered = _area_sums(_area_sums(mask.astype(wide), size).T, size).T
    return (2 * covered >= height * width).astype(np.uint8)


def _area_sums(values: np.ndarray, size: int) -> np.ndarray:
    """Integrate columns (N, M) over ``size`` equal stretches of the first axis, in units of 1 / size of a pixel.

    The running sum at a boundary that lies inside a pixel is the sum of the pixels before it plus the covered part.
    """
    length = len(values)
    running = np.zeros((length + 1, values.shape[1]), values.dtype)
    np.cumsum(values, axis=0, out=running[1:])
    whole, part = np.divmod(np.arange(size + 1, dtype=values.dtype) * length, size)
    inside = values[np.minimum(whole, length - 1)]  # at the far end part is 0, so which pixel stands there is no matter
    at_boundary = running[whole] * size + part[:, None] * inside
    return np.diff(at_boundary, axis=0)
