"""Decode one image or mask and squash it to a square.

Images become uint8 RGB, masks become 0/1. A mask is binarised at its original size, then averaged over the exact area of
each target pixel and set where at least half of that area is foreground.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit cannot be raised by a user; ours below can
PIXEL_LIMIT = 120_000_000  # the largest ISIC photographs hold 30 million pixels
LARGE = 32_000_000  # pixels
_LARGE_LOCK = threading.RLock()
# Pillow knows more; one of them, EPS, is a program, for Ghostscript to run.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
# Names by which a folder's images are known: those of the formats above.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".pgm", ".ppm", ".pnm", ".pbm", ".gif", ".avif", ".jp2", ".j2k", ".jpx", ".jpf", ".jpe", ".jfif")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # ISO/IEC 23008-12; mif1 is AVIF's too, which Pillow reads
# Pillow keeps the upper byte of a 16-bit colour. Raw modes that turn the bytes round give the lower one; ARGB puts that of a grey with alpha into the red.
_TURNED = {f"{mode};16{order}": f"{mode};16{other}" for mode in ("RGB", "RGBA", "RGBX")
           for order, other in (("B", "L"), ("L", "B"), ("N", "B" if sys.byteorder == "little" else "L"))} | {"LA;16B": "ARGB"}
_BITS, _PLANES = 258, 284  # TIFF tags BitsPerSample and PlanarConfiguration


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
    width, height = open_image(data, name, load=False).size
    return _LARGE_LOCK if width * height > LARGE else nullcontext()


def open_image(data: bytes, name: str, load: bool = True, lower: bool = False) -> Image.Image:
    """Decode ``data``, fully or its header; ``lower``: the lower bytes of 16-bit colours, of which Pillow gives the upper ones.

    Raises:
        ValueError: unreadable, empty or over the pixel limit, in one line that names the file.
    """
    if not data:
        raise ValueError(f"{name}: is empty (0 bytes); fetch or export the file again")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > pixel_limit():
            raise _TooLarge(
                f"{name}: {width} x {height} pixels exceed the limit of {pixel_limit()}; "
                "set EHANET_MAX_PIXELS higher if the file is genuine"
            )
        if lower:
            image.tile = [tile._replace(args=_TURNED[tile.args] if isinstance(tile.args, str) else (_TURNED[tile.args[0]], *tile.args[1:])) for tile in image.tile]
        if load:
            image.load()
    except (_TooLarge, MemoryError):
        raise
    except Exception as error:  # on damaged bytes Pillow's readers raise anything
        if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
            raise ValueError(f"{name}: HEIC is not read; export it as JPEG") from error
        if data[128:132] == b"DICM":
            raise ValueError(f"{name}: DICOM is not read; export it as PNG") from error
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


def converted(image: Image.Image, mode: str, name: str) -> Image.Image:
    """The image in another mode of Pillow's.

    Raises:
        ValueError: a colour space that Pillow does not convert.
    """
    try:
        return image.convert(mode)
    except ValueError as error:
        raise ValueError(f"{name}: the colour space {image.mode} cannot be read; export the file as RGB") from error


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Image file -> uint8 (H, W, 3).

    Alpha is dropped, grey repeated. Integers wider than 8 bits, grey or colour, are scaled from 12 bits where the maximum fits, else
    from 16; floating pixels must lie in [0, 1] or [0, 255].

    Raises:
        ValueError: unreadable, over the pixel limit, or values that are not an image's (NaN, negative, out of range).
    """
    values = wide_pixels(data, name)
    if values is None:
        return np.asarray(converted(open_image(data, name), "RGB", name))
    eight = _to_uint8(values, name)
    return eight if eight.ndim == 3 else np.repeat(eight[..., None], 3, axis=2)


def wide_pixels(data: bytes, name: str) -> np.ndarray | None:
    """Values as stored of an image of more than 8 bits, (H, W) or (H, W, 3), its alpha dropped; None for other images.

    Raises:
        ValueError: unreadable, over the pixel limit, or a TIFF of 16-bit colours in a plane each.
    """
    image = open_image(data, name, load=False)  # an ordinary image is decoded once, for its pixels
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        return np.asarray(open_image(data, name))
    if image.format == "TIFF" and image.tag_v2.get(_PLANES) == 2 and 16 in image.tag_v2.get(_BITS, ()):
        raise ValueError(f"{name}: a TIFF of 16-bit colours in separate planes is not read; export it with interleaved colours, or as PNG")
    raw = {tile.args if isinstance(tile.args, str) else tile.args[0] for tile in image.tile if tile.args}
    if not raw or not raw <= set(_TURNED):
        return None
    upper, lower = np.asarray(open_image(data, name)), np.asarray(open_image(data, name, lower=True))
    values = upper[..., :3].astype(np.uint16) << 8
    values |= lower[..., :1] if raw == {"LA;16B"} else lower[..., :3]
    return values


def wide_range(data: bytes, name: str) -> float | None:
    """The largest value of the range that :func:`decode_image` takes an image of more than 8 bits to have, None for other images."""
    values = wide_pixels(data, name)
    return None if values is None else _range(values, name)


def _to_uint8(values: np.ndarray, name: str) -> np.ndarray:
    scale = 255.0 / _range(values, name)
    if np.issubdtype(values.dtype, np.floating):
        return np.rint(values.astype(np.float64) * scale).astype(np.uint8)
    return np.rint(np.arange(65536) * scale).astype(np.uint8)[values]  # a table: eight bytes a value would be gigabytes


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
        known = ", ".join(f"0 to {top:g}" for top in tops[:-1]) + f" or 0 to {tops[-1]:g}"
        raise ValueError(f"{name}: pixel values from {low:g} to {high:g} fit none of the ranges {known}; choose a window, scale it to 0 to 255 and save it as 8-bit PNG")
    return top


def decode_mask(data: bytes, name: str) -> np.ndarray:
    """Mask of a published data set -> bool (H, W): luminance above 127 (Kvasir-SEG's JPEG masks hold values between 0 and 255)."""
    return np.asarray(converted(open_image(data, name), "L", name)) > 127


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
