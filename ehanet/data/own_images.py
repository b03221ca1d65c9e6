"""Images and masks of a user's own folder: masks in every usual coding become binary, and what may mean two things is refused."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ehanet.data.images import converted, decode_image, open_image, read_header, wide_pixels

_LOSSLESS = ("BMP", "GIF", "PNG", "PPM", "TIFF")  # a WebP or AVIF may be either
_TURNED = range(2, 9)  # EXIF orientations that a viewer turns or mirrors; what others mean no viewer knows
MARGIN, PATCH = 1 / 8, 5  # a soft edge has values between, a share of the range away from both ends, and none of them fills a square of so many pixels
_BINARY = "make it binary (0 and 255) first"


class Turned(ValueError):
    """A file that a viewer shows turned or mirrored."""


def is_turned(data: bytes) -> bool:
    """Whether a viewer turns or mirrors the file by its EXIF orientation."""
    try:
        return read_header(data, "").orientation in _TURNED
    except ValueError:  # several pages: another reason to refuse it
        return False


def _check_own(data: bytes, name: str) -> None:
    """One upright image in the file: a mask is drawn on what a viewer shows, which turns the image, or on what is stored, and nothing in the pair says which."""
    orientation = read_header(data, name).orientation
    if orientation in _TURNED:
        raise Turned(f"{name}: stored turned or mirrored (EXIF orientation {orientation}), so that image and mask may not fit; save it upright")


def decode_own_image(data: bytes, name: str) -> np.ndarray:
    """Image of a user's own folder -> uint8 (H, W, 3), as :func:`decode_image`.

    Raises:
        ValueError: also several images in one file, or an EXIF orientation other than upright.
    """
    _check_own(data, name)
    return decode_image(data, name)


def decode_own_mask(data: bytes, name: str) -> np.ndarray:
    """Mask of a user's own folder -> bool (H, W).

    JPEG: above 127. Palette images: by their greys; of two colours the one that is not black, else any index but 0. Lossless files:
    where at most one value besides 0 occurs (0/1, 0/255, 0/128), that value is foreground; with more values (soft edges) above half of
    the full range. Two colours are told apart by their brightest channel. Alpha is dropped where it is the same everywhere or agrees.

    Raises:
        ValueError: unreadable; what may be a map of several classes or objects: several values of which none reaches half of the range or
            none lies below it, or one between the others fills an area, more than two colours, or two neither of which is black or has index 0; an alpha channel that shows another object, several images in
            one file, or an EXIF orientation other than upright.
    """
    _check_own(data, name)
    image = open_image(data, name)
    lossless = image.format in _LOSSLESS and image.info.get("compression") != "jpeg"  # a TIFF may hold a JPEG
    if image.mode == "1":
        return np.asarray(image)
    greys = _palette_greys(image) if image.mode == "P" else None
    if image.mode == "P" and greys is None:
        indices = np.asarray(image)
        return _of_two_colours(indices, _palette(image), name)
    colours = greys if greys is not None else _colours(image, data, name)
    values = colours.max(axis=2) if colours.ndim == 3 else colours
    if image.format in ("JPEG", "MPO"):
        return values > 127
    mask = _foreground(values, name)
    if lossless and colours.ndim == 3 and (count := _count_colours(colours)) and (count > 2 or mask.all() and count == 2):
        raise ValueError(f"{name}: the mask holds {count} colours{'' if count > 2 else ', equally bright'}; {_BINARY}")
    if lossless and "A" in image.getbands() and _contradicts(np.asarray(image.getchannel("A")), mask):
        raise ValueError(f"{name}: the mask's alpha channel shows another object than its colours; {_BINARY}, without alpha")
    return mask


def _colours(image: Image.Image, data: bytes, name: str) -> np.ndarray:
    """Values (H, W) or (H, W, 3) without alpha, wide ones as stored."""
    wide = wide_pixels(data, name)
    if wide is not None:
        return wide
    return np.asarray(converted(image, "L" if image.mode in ("L", "LA", "La") else "RGB", name))


def _foreground(values: np.ndarray, name: str) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: the mask holds NaN or infinite values; use 0 and 255")
    levels = np.unique(values)
    if np.count_nonzero(levels) <= 1:
        return values != 0
    if np.issubdtype(values.dtype, np.floating):
        half = 0.5 if levels[-1] <= 1 else 127.5
    else:
        half = 127.5 if levels[-1] <= 255 else 32767.5
    if levels[0] < 0 or levels[-1] <= half or levels[0] > half and levels[-1] - levels[0] > 2 * half * MARGIN:
        raise ValueError(f"{name}: the mask holds the values {', '.join(f'{v:g}' for v in levels[:6])}...; {_BINARY}")
    from scipy.ndimage import maximum_filter, minimum_filter  # most of a second, which few masks need and make paper's start does not

    low, high = float(levels[0]), float(levels[-1])
    between = (values > low + MARGIN * (high - low)) & (values < high - MARGIN * (high - low))
    flat = between & (maximum_filter(values, PATCH) == minimum_filter(values, PATCH))
    if flat.any():
        raise ValueError(f"{name}: the mask holds an area of the value {values[flat][0]:g} between {low:g} and {high:g}, as a map of several classes or objects does; {_BINARY}")
    return values > half


def _of_two_colours(indices: np.ndarray, palette: np.ndarray, name: str) -> np.ndarray:
    """A palette image that is no grey one -> bool (H, W). Pillow gives the more frequent colour, or the object's, index 0, so that black decides before it does."""
    used = np.unique(indices)
    if len(used) > 2:
        raise ValueError(f"{name}: the mask holds {len(used)} colours of its palette; {_BINARY}")
    black = [index for index in used if not palette[index].any()]
    if len(black) == 1:
        return indices != black[0]
    if len(used) == 2 and 0 not in used:
        raise ValueError(f"{name}: which of the two colours of its palette is the object cannot be told; {_BINARY}")
    return indices > 0


def _palette(image: Image.Image) -> np.ndarray:
    """uint8 (256, 3); black where the file gives no colour."""
    palette = np.zeros((256, 3), np.uint8)
    given = np.array(image.getpalette() or [], np.uint8)[:768]
    palette.reshape(-1)[: len(given)] = given
    return palette


def _count_colours(colours: np.ndarray) -> int:
    """How many colours (H, W, 3) has; 0 where all are greys, which may be soft edges."""
    if (colours == colours[..., :1]).all():
        return 0
    wide, bits = (np.uint32, 8) if colours.dtype == np.uint8 else (np.uint64, 16)
    red, green, blue = (colours[..., channel].astype(wide) for channel in range(3))
    return len(np.unique(red << 2 * bits | green << bits | blue))


def _contradicts(alpha: np.ndarray, mask: np.ndarray) -> bool:
    """Whether alpha varies and hides foreground, or shows background fully; a soft edge does neither."""
    return bool(np.ptp(alpha)) and bool((mask & (alpha == 0)).any() or (~mask & (alpha == 255)).any())


def _palette_greys(image: Image.Image) -> np.ndarray | None:
    """A palette image by its greys, uint8 (H, W), since white may be index 0 (Pillow's quantize); None where they say less than the indices do:
    colours are in use, or one grey for several indices."""
    indices, palette = np.asarray(image), _palette(image)
    used = np.unique(indices)
    colours = np.unique(palette[used], axis=0)
    if np.ptp(colours, axis=1).any() or len(colours) == 1 < len(used):
        return None
    return palette[indices, 0]
