"""The layout of a user's own folder or archive, images/ and masks/: what a path says, and what to say where it is not so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from ehanet.data.archives import Source, printable
from ehanet.data.images import IMAGE_SUFFIXES
from ehanet.data.splits import SPELLINGS

_ROLES = {"images": "image", "masks": "mask"}
MASK_ENDINGS = ("_mask", "-mask", "_segmentation", "_seg", "_label", "_gt")  # of a mask's stem in a folder of the user's own


def role_of(path: PurePosixPath) -> str | None:
    """"image" or "mask" for an image file directly in images/ or masks/, else None."""
    return _ROLES.get(path.parts[-2].lower()) if len(path.parts) > 1 and path.suffix.lower() in IMAGE_SUFFIXES else None


def has_pairs(folder: Path) -> bool:
    """Whether a folder is laid out as a data set of one's own: masks/, or a split's as in train/masks/, whatever the case."""
    def masks(place: Path) -> bool:
        return any(child.name.lower() == "masks" and child.is_dir() for child in place.iterdir())

    return masks(folder) or any(child.name.lower() in SPELLINGS and child.is_dir() and masks(child) for child in folder.iterdir())


def split_of(path: PurePosixPath) -> str:
    """"train", "val" or "test" for a file of train/images/ and the like, else nothing."""
    return SPELLINGS.get(path.parts[-3].lower(), "") if len(path.parts) > 2 else ""


def suffix_counts(paths: Iterable[PurePosixPath], shown: int = 4) -> str:
    """The files by suffix, the most frequent first: "4 .jpg, 4 .png"."""
    counts = Counter(printable(path.suffix.lower()) or "without suffix" for path in paths).most_common()
    more = sum(count for _, count in counts[shown:])
    return ", ".join(f"{count} {suffix}" for suffix, count in counts[:shown]) + (f" and {more} others" if more else "")


def no_images(where: str, paths: list[PurePosixPath]) -> str:
    """One line on a source without an image in images/: what is not there, what was found, what to do."""
    inside = {name: [path for path in paths if len(path.parts) > 1 and path.parts[-2].lower() == name] for name in _ROLES}
    deeper = _in_subfolders(paths)
    if inside["images"]:
        return (f"{where}: images/ holds nothing that is read as an image (found: {suffix_counts(inside['images'])}); "
                "export the images as PNG, TIFF or JPEG")
    if deeper:
        return (f"{where}: images/ and masks/ hold their files in subfolders ({printable(deeper[0])}); "
                "put them into images/ and masks/ themselves, or for a split of yours into train/images, train/masks, val/images and so on")
    missing = [f"{name}/" for name, files in inside.items() if not files]
    return (f"{where}: no folder{'s' * (len(missing) - 1)} {' and '.join(missing)} in it (found: {suffix_counts(paths) or 'no files'}); "
            "put the images into images/ and their masks, under the same names, into masks/")


def _in_subfolders(paths: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    """The folders below images/ or masks/ of the files that lie there."""
    return [path.parent for path in paths if set(_ROLES) & {part.lower() for part in path.parts[:-2]}]


def why_no_mask(image: PurePosixPath, paths: list[PurePosixPath]) -> str | None:
    """What stands in the way of an image's mask, in words with the way out: masks that are not read, or a name in other case; None where it is another thing."""
    masks = [path for path in paths if len(path.parts) > 1 and path.parts[-2].lower() == "masks"]
    unread = [path for path in masks if role_of(path) is None]
    if masks and len(unread) == len(masks):
        return f"masks/ holds only files that are not read ({suffix_counts(unread)}); export the masks as PNG"
    stems = {image.stem.lower() + ending for ending in ("", *MASK_ENDINGS)}
    twin = next((path for path in masks if role_of(path) and path.stem.lower() in stems and not path.stem.startswith(image.stem)), None)
    return twin and f"{printable(twin)} differs from it in upper and lower case; rename one of the two"


def passed_over(sources: Iterable[Source]) -> list[str]:
    """A line on the images of a user's own source that lie in subfolders of images/ or masks/, where no sample is looked for."""
    paths = [member.pure for source in sources for member in source.members if member.pure.suffix.lower() in IMAGE_SUFFIXES and role_of(member.pure) is None]
    deeper = _in_subfolders(paths)
    if not deeper:
        return []
    folders = sorted(set(deeper))
    others = f" and {len(folders) - 1} more" if folders[1:] else ""
    return [f"{len(deeper)} files in {printable(folders[0])}{others} were passed over; put them into images/ and masks/ themselves"]
