"""Image files as people have them: from a phone, a scanner, a viewer; found in folders and read as one form."""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ehanet.data.images import IMAGE_SUFFIXES, decode_image, read_header
from ehanet.data.importers import natural_key
from ehanet.data.layout import role_of, suffix_counts

MASK_END, OVERLAY_END = "_mask.png", "_overlay.jpg"  # of the names of results
# What looks like an image to its owner and is none to the reader: phones, hospitals, microscopes, cameras.
_UNREAD = {".heic", ".heif", ".hif", ".jxl", ".dcm", ".dicom", ".nii", ".mha", ".mhd", ".nrrd", ".npy", ".svs", ".ndpi", ".mrxs", ".scn", ".czi", ".lif", ".nd2", ".vsi",
           ".oib", ".psd", ".xcf", ".exr", ".hdr", ".tga", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"}
# EXIF orientation -> how the stored array is turned upright.
_UPRIGHT = {
    2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2), 8: np.rot90,
}  # fmt: skip


def read_photo(path: str | Path) -> np.ndarray:
    """An image file -> uint8 (H, W, 3), upright by its EXIF orientation.

    Grey is repeated, palettes and CMYK become RGB, alpha is passed over, more than 8 bits are scaled as at an import.

    Raises:
        FileNotFoundError: no such file.
        ValueError: unreadable, cut off, animated, or over the pixel limit; one line that names the file.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"image {path} not found") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    header = read_header(data, str(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Pillow's remark on palettes with transparency: alpha is passed over anyway
        array = decode_image(data, str(path))
    turn = None if header.format == "TIFF" else _UPRIGHT.get(header.orientation)  # Pillow turns a TIFF while it decodes it
    return np.ascontiguousarray(turn(array)) if turn else array


def find_images(given: Iterable[str | Path], outside: Path | None = None) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Files, folders and patterns -> images in the order given, natural order within a folder, each once.

    Args:
        given: a leading ~ is the home folder; in a folder or pattern, a mask and its overlay of an earlier call are no images, nor
            are the masks of a data set, in masks/ beside images/.
        outside: where the results go; what a folder or pattern finds there is passed over, as the results of an earlier call.

    Returns:
        (path, name) of each image, name being the path below the folder that was given, or the file's name; and one line for
        each entry that led to no image, and for each folder that holds image files of kinds that are not read.

    Raises:
        ValueError: an empty name; all that a folder or pattern finds lies below ``outside``, or a file that was named lies in it.
    """
    inside = outside and outside.resolve()
    found: dict[Path, tuple[Path, Path]] = {}
    problems = []
    for entry in map(os.path.expanduser, map(str, given)):
        if not entry:
            raise ValueError("one of the image names is empty; name a file or folder, or . for the current folder")
        searched = Path(entry).is_dir() or glob.has_magic(entry) and not Path(entry).is_file()
        unread = []
        if Path(entry).is_dir():
            below = _below(Path(entry))
            pairs = {path.parent.parent for path in below if role_of(path) == "image"}
            known = {path: path.relative_to(entry) for path in below
                     if path.suffix.lower() in IMAGE_SUFFIXES and not (role_of(path) == "mask" and path.parent.parent in pairs)}
            unread = [path for path in below if path.suffix.lower() in _UNREAD or path.name.lower().endswith(".nii.gz")]
        elif not searched:
            known = {Path(entry): Path(Path(entry).name)}
        else:
            known = {Path(path): Path(Path(path).name) for path in sorted(glob.glob(entry, recursive=True), key=natural_key) if Path(path).is_file()}
        if inside and known:
            held = [path for path in known if (path.resolve().is_relative_to(inside) if searched else path.resolve().parent == inside)]
            known = {path: name for path, name in known.items() if path not in held}
            if not known:
                raise ValueError(f"{outside} holds the images; write the masks to another folder with --out")
        images = {path: name for path, name in known.items() if not (searched and is_result(path))}
        for path, name in images.items():
            found.setdefault(path.absolute(), (path, name))
        if unread:
            problems.append(f"{entry}: passed over {suffix_counts(unread, shown=8)} (not read; export as JPEG or PNG)")
        elif known and not images:
            problems.append(f"{entry}: holds only results of an earlier call (*{MASK_END} with *{OVERLAY_END})")
        elif not images:
            problems.append(f"{entry}: no image found ({', '.join(suffix[1:] for suffix in IMAGE_SUFFIXES)})")
    return list(found.values()), problems


def is_result(path: Path) -> bool:
    """A mask with its overlay beside it, or the overlay: what an earlier call has written."""
    for end, other in ((MASK_END, OVERLAY_END), (OVERLAY_END, MASK_END)):
        if path.name.endswith(end):
            return path.with_name(path.name.removesuffix(end) + other).is_file()
    return False


def _below(folder: Path) -> list[Path]:
    """The files below a folder in natural order, those of linked folders too, hidden ones left out."""
    files, walked = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        here = os.path.realpath(place)
        if here in walked:  # a link to a folder above it, or a second one to the same
            folders.clear()
            continue
        walked.add(here)
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [path for name in names if not name.startswith(".") and (path := Path(place, name)).is_file()]
    return sorted(files, key=lambda path: natural_key(str(path)))
