"""Predict files and folders into a folder: a mask and an overlay for each image."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from torch import nn
from tqdm.auto import tqdm

from ehanet.data.layout import role_of
from ehanet.files import check_writable, write_atomically
from ehanet.inference import predict_each
from ehanet.photos import MASK_END, OVERLAY_END, find_images, is_result, read_photo

NETWORK_SIDE = 256  # for a model that does not say at which size it was trained: at a photograph's own size it would take gigabytes
OVERLAY_SIDE = 1600  # longest side of an overlay in pixels: it is for the eye; the mask has the image's own size
TINT, BORDER = np.array([230, 159, 0], np.float32), np.array([255, 255, 255], np.uint8)  # Okabe and Ito's orange, seen on mucosa, skin and dark ground


def predict_files(model: nn.Module, given: Sequence[str | Path], out: str | Path, flips: bool = False,
                  precision: str = "float32") -> tuple[int, list[str]]:
    """Write ``out``/<name>_mask.png (0 and 255, the image's size) and ``out``/<name>_overlay.jpg for every image.

    Folders keep their inner structure; images that would get the same name keep their suffix in it. An image that cannot be
    read is named on standard error and passed over.

    Args:
        given: files, folders (with all below them, but masks/ beside images/) and patterns such as "scans/*.png"; a leading ~ is the home folder, in ``out`` too.
        flips, precision: as in :func:`ehanet.predict`.

    Returns:
        How many images were predicted, and a line for everything that was not.

    Raises:
        ValueError: an empty name among ``given``; ``out`` is a file, or a folder that the images come from, or one above it, or holds masks that are
            no results: they may be somebody's labels. OSError: ``out`` cannot be written.
    """
    out = Path(os.path.expanduser(out))
    if out.is_file():
        raise ValueError(f"{out} is a file; name a folder for the results")
    images, problems = find_images(given, outside=out)
    _check_out(out)
    for problem in problems:
        print(problem, file=sys.stderr)
    names = _names([name for _, name in images])
    if images:
        check_writable(out)
    if foreign := next((mask for mask in (out / f"{name}{MASK_END}" for name in names) if os.path.isfile(mask) and not is_result(mask)), None):
        raise ValueError(f"{foreign} is there already, and no result of an earlier call, which has its *{OVERLAY_END} beside it; name another folder with --out")
    size = getattr(model, "input_size", None) or NETWORK_SIDE
    small: dict[int, np.ndarray] = {}
    done = 0
    with tqdm(total=len(images), unit="image", disable=None) as bar:
        stream = _read_each([path for path, _ in images], small, problems, bar)
        for index, probability in predict_each(model, stream, size, flips=flips, precision=precision):
            bar.update()
            mask = probability > 0.5
            try:  # the overlay first: a mask without one counts as somebody's own
                _write_image(out / f"{names[index]}{OVERLAY_END}", Image.fromarray(overlay(small.pop(index), mask)))
                _write_image(out / f"{names[index]}{MASK_END}", Image.fromarray(mask.astype(np.uint8) * 255))
                done += 1
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
                problems.append(f"{images[index][0]}: its name is too long for a result named after it; make it shorter")
                bar.write(problems[-1], file=sys.stderr)
    return done, problems


def _check_out(out: Path) -> None:
    """Refuse the folder of a data set's masks: results among labels would be taken for labels."""
    here = out.absolute()
    labels = [path for path in here.iterdir() if role_of(path) == "mask" and not is_result(path)] if here.is_dir() else []
    if labels and any(role_of(path / "a.png") == "image" for path in here.parent.iterdir() if path.is_dir()):
        raise ValueError(f"{out} holds the masks of a data set ({labels[0].name}); name another folder with --out")


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 3) with the object of ``mask`` (H, W) bool tinted and its border drawn; the mask is brought to h x w."""
    height, width = image.shape[:2]
    inside = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
    line = 2 * max(1, round(max(height, width) / 800)) + 1
    border = np.asarray(inside.convert("L").filter(ImageFilter.MaxFilter(line))) != np.asarray(inside.convert("L").filter(ImageFilter.MinFilter(line)))
    inside = np.asarray(inside)[..., None]
    tinted = np.where(inside, np.uint8(0.7 * image + 0.3 * TINT), image)
    return np.where(border[..., None], BORDER, tinted)


def _read_each(paths: list[Path], small: dict[int, np.ndarray], problems: list[str], bar: tqdm) -> Iterator[tuple[int, np.ndarray]]:
    """(index, image) of what can be read; leaves each image, reduced for its overlay, in ``small``."""
    for index, path in enumerate(paths):
        try:
            photo = read_photo(path)
        except (ValueError, OSError) as error:
            problems.append(" ".join(str(error).split()))
            bar.write(problems[-1], file=sys.stderr)
            bar.update()
            continue
        reduced = Image.fromarray(photo)
        reduced.thumbnail((OVERLAY_SIDE, OVERLAY_SIDE), Image.Resampling.BILINEAR)
        small[index] = np.asarray(reduced)
        yield index, photo


def _names(paths: list[Path]) -> list[str]:
    """Names for the results: without suffix where that tells the images apart; a second file of one name gets a number."""
    stems = Counter(str(path.with_suffix("")) for path in paths)
    names = [str(path.with_suffix("")) if stems[str(path.with_suffix(""))] == 1 else str(path) for path in paths]
    seen: Counter = Counter()
    for place, name in enumerate(names):
        seen[name] += 1
        names[place] = name if seen[name] == 1 else f"{name}-{seen[name]}"
    return names


def _write_image(path: Path, image: Image.Image) -> None:
    content = io.BytesIO()
    image.save(content, "PNG" if path.suffix == ".png" else "JPEG", quality=90)
    write_atomically(path, content.getvalue())
