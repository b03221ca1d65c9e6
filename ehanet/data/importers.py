"""Find the samples of a data set among the files of its archives, by pattern, with or without top folders.

A sample is an image, its mask files and a group (patient or image). Whatever matches no pattern (licences, tables, bounding
boxes, thumbnails) is passed over; an identical second copy of a file counts once.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from ehanet.data.archives import Member, Source
from ehanet.data.images import decode_image, decode_mask, large_alone, squash_image, squash_mask, wide_range
from ehanet.data.layout import MASK_ENDINGS, no_images, role_of, split_of, why_no_mask
from ehanet.data.own_images import decode_own_image, decode_own_mask

NO_NAME = {"Cc", "Cs", "Zl", "Zp"}  # Unicode categories that lists and tables of names cannot hold: control characters, half characters, line separators
# The last frame of each of the 29 videos of CVC-ClinicDB, as its public copies list them (metadata.csv).
CVC_LAST_FRAMES = (25, 50, 67, 78, 103, 126, 151, 177, 199, 205, 227, 252, 277, 297, 317, 342, 363, 383, 408, 428, 447, 466, 478, 503, 528, 546, 571, 591, 612)


@dataclass(frozen=True)
class File:
    """A member together with the source that holds it."""

    source: Source
    member: Member

    @property
    def label(self) -> str:
        return self.source.label(self.member)

    def read(self) -> bytes:
        return self.source.read(self.member)


@dataclass(frozen=True)
class Sample:
    """One image with its mask files: several for nuclei, whose masks are united. ``place``: the split that the user's own folders give it, or nothing."""

    id: str
    group: str
    image: File
    masks: tuple[File, ...]
    place: str = ""


@dataclass(frozen=True)
class Found:
    """What a pattern says of one file: which image it belongs to, whether it is the image or a mask, and of which group."""

    id: str
    role: str  # "image" or "mask"
    group: str
    part: str = ""  # tells several masks of one image apart
    place: str = ""  # the split whose folder it lies in


def _kvasir(path: PurePosixPath) -> Found | None:
    if len(path.parts) >= 2 and path.suffix.lower() in (".jpg", ".jpeg"):
        role = {"images": "image", "masks": "mask"}.get(path.parts[-2])
        if role:
            return Found(path.stem, role, path.stem)
    return None


def _dsb2018(path: PurePosixPath) -> Found | None:
    if len(path.parts) < 3 or path.suffix.lower() != ".png":
        return None
    image_id, folder = path.parts[-3], path.parts[-2]
    if folder == "images" and path.stem == image_id:
        return Found(image_id, "image", image_id)
    if folder == "masks":
        return Found(image_id, "mask", image_id, part=path.name)
    return None


def _isic2018(path: PurePosixPath) -> Found | None:
    match = re.fullmatch(r"(ISIC_\d+)(\.jpe?g|_segmentation\.png)", path.name, re.IGNORECASE)
    if match is None:
        return None
    return Found(match[1], "mask" if match[2].lower().endswith("png") else "image", match[1])


def _lgg(path: PurePosixPath) -> Found | None:
    match = re.fullmatch(r"((TCGA_\w+?)_\d+)(_mask)?\.tiff?", path.name, re.IGNORECASE)
    if match is None or len(path.parts) < 2 or path.parts[-2] != match[2]:
        return None
    return Found(match[1], "mask" if match[3] else "image", match[2])


def _cvc_clinicdb(path: PurePosixPath) -> Found | None:
    """The frames of a video are one group: they resemble each other. Where the files come as PNG and as TIFF, in a folder each, the PNG are taken."""
    role = {"Original": "image", "Ground Truth": "mask"}.get(path.parts[-2]) if len(path.parts) >= 2 else None
    if role is None or not re.fullmatch(r"[0-9]{1,3}", path.stem) or path.suffix.lower() not in (".png", ".tif", ".tiff") or "TIF" in path.parts[:-2]:
        return None
    video = bisect_left(CVC_LAST_FRAMES, int(path.stem)) + 1
    return Found(path.stem, role, f"video_{video:02d}")


def _own(path: PurePosixPath) -> Found | None:
    """Named with the folder of its split in front, so that train/images/1.png and val/images/1.png are two."""
    role, place = role_of(path), split_of(path)
    image_id = f"{place}/{path.stem}" if place else path.stem
    return Found(image_id, role, image_id, place=place) if role else None


@dataclass(frozen=True)
class Importer:
    """The pattern of a data set, the layout in words for errors, how its images are decoded and its masks binarised."""

    pattern: Callable[[PurePosixPath], Found | None]
    layout: str
    read_image: Callable[[bytes, str], np.ndarray] = decode_image  # as stored, which is how the published masks were drawn
    read_mask: Callable[[bytes, str], np.ndarray] = decode_mask
    version: int = 1  # part of the cache's key: raise it when the arrays made from the same files change, or what is refused


IMPORTERS = {
    "kvasir-seg": Importer(_kvasir, "images/*.jpg and masks/*.jpg of the same names"),
    "dsb2018": Importer(_dsb2018, "<id>/images/<id>.png and <id>/masks/*.png"),
    "isic2018": Importer(_isic2018, "ISIC_*.jpg and ISIC_*_segmentation.png"),
    "lgg": Importer(_lgg, "<patient>/<patient>_<slice>.tif and <patient>_<slice>_mask.tif"),
    "cvc-clinicdb": Importer(_cvc_clinicdb, "Original/<number> and Ground Truth/<number>, .png or .tif"),
}
OWN = Importer(_own, f"images/ and masks/ with files of the same stems (a mask's may also end in {', '.join(MASK_ENDINGS)}), none in subfolders of them", decode_own_image, decode_own_mask, version=5)


def natural_key(text: str) -> tuple:
    """Sort key with numbers as numbers: slice_2 before slice_10; the text itself settles ties such as 01 and 1."""
    parts = [(len(part.lstrip("0")), part.lstrip("0")) if index % 2 else part for index, part in enumerate(re.split(r"([0-9]+)", text))]
    return parts, text  # by length, then by digits: int() refuses thousands of them


def find_samples(name: str, importer: Importer, sources: Iterable[Source]) -> list[Sample]:
    """Samples of ``sources``, ids in natural order.

    Args:
        name: the data set, for errors.

    Raises:
        ValueError: nothing found (with the data set that it looks like instead, or what a folder of one's own holds), an image
            without a mask or a mask without an image, two different files for one id, a name with control characters.
    """
    sources = list(sources)
    images: dict[str, File] = {}
    masks: dict[str, dict[str, File]] = {}
    groups: dict[str, str] = {}
    places: dict[str, str] = {}
    for source in sources:
        for member in source.members:
            found = importer.pattern(member.pure)
            if found is None:
                continue
            file = File(source, member)
            found = replace(found, **{key: unicodedata.normalize("NFC", getattr(found, key)) for key in ("id", "group")})  # é is one name, however it is encoded
            if any(unicodedata.category(character) in NO_NAME for character in found.id):
                raise ValueError(f"{file.label}: control characters cannot name an image; rename the file")
            shelf, key = (images, found.id) if found.role == "image" else (masks.setdefault(found.id, {}), found.part)
            if key in shelf and not _identical(shelf[key], file):
                raise ValueError(f"{file.label}: a different file for {found.id!r} is {shelf[key].member.shown}; give the two different names")
            shelf.setdefault(key, file)
            groups.setdefault(found.id, found.group)
            places.setdefault(found.id, found.place)
    where = " and ".join(source.path.name for source in sources)
    paths = [member.pure for source in sources for member in source.members]
    if importer is OWN:
        masks = _with_endings(images, masks)
    if not images:
        other = _looks_like(name, sources)
        if importer is OWN and not other:
            raise ValueError(no_images(where, paths))
        raise ValueError(f"{where} {f'looks like {other}, not {name}' if other else f'holds no images of {name}'}; {name} has the layout {importer.layout}")
    ids = sorted(images, key=natural_key)
    alone = [images[image_id] for image_id in ids if image_id not in masks]
    if alone:
        reason = importer is OWN and why_no_mask(alone[0].member.pure, paths)
        raise ValueError(f"{alone[0].label} has no mask{_and_others(alone, len(ids))}; {reason or f'expected {importer.layout}'}")
    alone = [next(iter(masks[mask_id].values())) for mask_id in sorted(masks, key=natural_key) if mask_id not in images]
    if alone:
        raise ValueError(f"{alone[0].label} is a mask without an image{_and_others(alone, len(masks))}; expected {importer.layout}")
    samples = [Sample(i, groups[i], images[i], tuple(masks[i][part] for part in sorted(masks[i])), places[i]) for i in ids]
    return _shortened(samples) if importer is OWN else samples


def _and_others(files: list[File], count: int) -> str:
    """How many more of ``count`` there are than the first of the files, and the next two by name."""
    if len(files) == 1:
        return ""
    return f" (and {len(files) - 1} more of {count}: {', '.join(file.member.shown for file in files[1:3])}{', ...' if len(files) > 3 else ''})"


def _shortened(samples: list[Sample]) -> list[Sample]:
    """Ids without the folder of the split, unless two images would then share one."""
    stems = [sample.id.removeprefix(f"{sample.place}/") for sample in samples]
    if len(set(stems)) < len(stems):
        return samples
    return sorted((replace(sample, id=stem, group=stem) for sample, stem in zip(samples, stems)), key=lambda sample: natural_key(sample.id))


def _with_endings(images: dict[str, File], masks: dict[str, dict[str, File]]) -> dict[str, dict[str, File]]:
    """Masks such as "a_mask" go to the image "a", unless an image has their own stem or "a" has a mask of its own stem."""
    placed: dict[str, dict[str, File]] = {}
    for stem, parts in masks.items():
        ending = next((ending for ending in MASK_ENDINGS if stem.lower().endswith(ending)), "")
        image = stem[:len(stem) - len(ending)]
        if stem in images or image not in images or image in masks:
            placed.setdefault(stem, {}).update(parts)
        elif image in placed:
            raise ValueError(f"{next(iter(parts.values())).label}: another mask of {image!r} is {next(iter(placed[image].values())).member.shown}; keep one of the two")
        else:
            placed[image] = parts
    return placed


def _identical(first: File, second: File) -> bool:
    if first.member.size != second.member.size or (first.member.crc is not None and first.member.crc != second.member.crc):
        return False
    return first.read() == second.read()


def _looks_like(name: str, sources: list[Source]) -> str | None:
    """The data set that the files look like, if any."""
    for other, importer in IMPORTERS.items():
        founds = (importer.pattern(member.pure) for source in sources for member in source.members)
        if other != name and any(found and found.role == "image" for found in founds):
            return other
    return None


@dataclass(frozen=True)
class Row:
    """A decoded sample: image uint8 (S, S, 3), mask uint8 0/1 (S, S), original size, whether the original mask was empty, and the largest value of the
    range that an image of more than 8 bits was scaled from."""

    image: np.ndarray
    mask: np.ndarray
    width: int
    height: int
    empty: bool
    wide_range: float | None = None


def decode_sample(sample: Sample, importer: Importer, size: int) -> Row:
    """Decode, check and squash one sample to ``size`` x ``size``.

    Raises:
        ValueError: unreadable file or a mask of another size than its image, naming the file.
    """
    content = sample.image.read()
    with large_alone(content, sample.image.label):
        image = importer.read_image(content, sample.image.label)
        height, width = image.shape[:2]
        top = wide_range(content, sample.image.label) if importer is OWN else None
        union = np.zeros((height, width), bool)
        for file in sample.masks:
            content = file.read()
            with large_alone(content, file.label):
                mask = importer.read_mask(content, file.label)
            if mask.shape != union.shape:
                raise ValueError(f"{file.label}: the mask is {mask.shape[1]} x {mask.shape[0]} pixels, its image {width} x {height}; export one of them again")
            union |= mask
        return Row(squash_image(image, size), squash_mask(union, size), width, height, empty=not union.any(), wide_range=top)
