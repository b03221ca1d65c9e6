"""Images to show, from a data set's name, a photograph or a folder of them."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ehanet.data import Dataset, list_datasets, load_dataset
from ehanet.data.archives import SUFFIXES as ARCHIVES
from ehanet.data.images import IMAGE_SUFFIXES
from ehanet.data.layout import has_pairs
from ehanet.photos import read_photo

SHOWN_SIDE = 640  # pixels: no screen shows more of a picture in a notebook


class Example(NamedTuple):
    """An image uint8 (H, W, 3) with its mask, uint8 0/1 (H, W), or None where nobody has drawn one."""

    name: str
    image: np.ndarray
    mask: np.ndarray | None
    phantom: bool = False

    @property
    def mark(self) -> str:
        """What a picture of it must say about where it comes from."""
        return "phantom data" if self.phantom else ""


def load_examples(source: str | Path, size: int = 128, count: int = 12) -> list[Example]:
    """At most ``count`` images to look at.

    Args:
        source: the name of a data set, or a folder or archive with images/ and masks/ as ``ehanet.data.load_dataset`` takes it (test images, squashed to
            ``size`` pixels); an image file or a folder of them (no masks; reduced to 640 pixels on the longer side).

    Raises:
        FileNotFoundError, ValueError: nothing there, not readable, or no test images; one line that names it.
    """
    path = Path(os.path.expanduser(source))
    if str(source) in list_datasets() or (has_pairs(path) if path.is_dir() else path.name.lower().endswith(ARCHIVES)):
        return examples_of(load_dataset(source, size=size), count)
    if not path.exists():
        raise FileNotFoundError(f"{source}: no such file or folder, and no data set of that name; known are {', '.join(list_datasets())}")
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise FileNotFoundError(f"{path} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    stems = Counter(file.stem for file in files)  # a name is what one is chosen by
    return [Example(file.stem if stems[file.stem] == 1 else file.name, reduced(read_photo(file)), None) for file in files[:count]]


def examples_of(data: Dataset, count: int = 12, part: str = "test") -> list[Example]:
    """The first ``count`` images of ``part``, train, val or test, those with an object first.

    Raises:
        ValueError: the part is empty; one line that names the data set and the parts that are not.
    """
    if not len(data.splits[part]):
        held = ", ".join(name for name, indices in data.splits.items() if len(indices))
        raise ValueError(f"{data.name} has no images in its part {part}, only in {held}; move some there, or choose another part or data set")
    indices = sorted(data.splits[part], key=lambda index: not data.masks[index].any())[:count]
    phantom = data.manifest.get("modality") == "phantom"
    return [Example(data.ids[index], np.asarray(data.images[index]), np.asarray(data.masks[index]), phantom) for index in indices]


def reduced(image: np.ndarray, side: int = SHOWN_SIDE) -> np.ndarray:
    """uint8 (H, W, 3) whose longer side is at most ``side`` pixels."""
    height, width = image.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return image
    return np.asarray(Image.fromarray(image).resize((max(1, round(width * factor)), max(1, round(height * factor))), Image.Resampling.BILINEAR))


def sample_files(folder: str | Path) -> list[Path]:
    """Write four images of noise of the kinds that cameras and scanners make, and return their paths: grey, 16 bits, a large photograph, one that is turned by its
    EXIF as a telephone writes it when held upright."""
    random, folder = np.random.default_rng(0), Path(folder)
    turned = Image.Exif()
    turned[274] = 6  # the tag of the orientation: turn by 90 degrees clockwise to show it
    kinds = {"grey.png": ((90, 120), np.uint8, {}), "sixteen_bits.png": ((90, 120), np.uint16, {}), "photograph.jpg": ((3000, 4000, 3), np.uint8, {}),
             "turned.jpg": ((90, 120, 3), np.uint8, {"exif": turned})}
    for name, (shape, dtype, options) in kinds.items():
        Image.fromarray(random.integers(0, np.iinfo(dtype).max, shape, dtype)).save(folder / name, **options)
    return [folder / name for name in kinds]
