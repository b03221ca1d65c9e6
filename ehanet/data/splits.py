"""Splits into train, val and test: a published CSV, or 8:1:1 by a rule that depends on the group names and the seed only."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import unicodedata
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np

from ehanet.files import write_atomically
from ehanet.data.images import IMAGE_SUFFIXES

SPLITS = ("train", "val", "test")
FOLDERS = "train/val/test folders"  # what records call a split by the folders that a user's images lie in
SPELLINGS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test", "testing": "test"}


def rule_split(ids: list[str], groups: list[str], seed: int = 0) -> list[str]:
    """Split name of each id: whole groups, one tenth (rounded, at least one) to test, one to val, the rest to train.

    Groups are ordered by the SHA-256 of "<seed>:<group>", so neither file order nor machine matters.

    Raises:
        ValueError: fewer than three groups.
    """
    names = sorted(set(groups), key=lambda group: (hashlib.sha256(f"{seed}:{group}".encode()).digest(), group))
    if len(names) < 3:
        raise ValueError(f"a split by rule needs at least 3 images or patients, got {len(names)}; add images, or a CSV of name,split (<folder>.split.csv beside the folder, or split=)")
    tenth = max(1, (len(names) + 5) // 10)
    place = {group: "test" if rank < tenth else "val" if rank < 2 * tenth else "train" for rank, group in enumerate(names)}
    return [place[group] for group in groups]


def read_split(path: Path, ids: list[str]) -> list[str]:
    """Split name of each id from a CSV with the columns ``name`` (with or without an image suffix) and ``split``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: missing columns, an unknown split name, ids unknown, missing or named twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"the split file {path} does not exist; give split='rule' or a CSV with the columns name,split")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"the split file {path} is no readable CSV ({error}); it needs the columns name,split") from error
    if not rows or not {"name", "split"} <= set(rows[0]):
        raise ValueError(f"the split file {path} needs a header with the columns name,split and a row for each image")
    known, place = set(ids), {}
    for number, row in enumerate(rows, start=2):
        text, split = unicodedata.normalize("NFC", (row["name"] or "").strip()), SPELLINGS.get((row["split"] or "").strip().lower())
        if split is None:
            raise ValueError(f"{path} line {number}: the split {row['split']!r} is none of {', '.join(SPLITS)}")
        image_id = next((name for name in (text, _without_suffix(text), PurePosixPath(text).stem) if name in known), None)
        if image_id is None:
            raise ValueError(f"{path} line {number}: the data set has no image {text!r}; is it the split of another data set?")
        if image_id in place:
            raise ValueError(f"{path} line {number}: {image_id!r} is named twice")
        place[image_id] = split
    missing = [image_id for image_id in ids if image_id not in place]
    if missing:
        raise ValueError(f"the split file {path} leaves out {len(missing)} of {len(ids)} images, {missing[0]!r} first; give each image a row")
    return [place[image_id] for image_id in ids]


def _without_suffix(text: str) -> str:
    path = PurePosixPath(text)
    return str(path.with_suffix("")) if path.suffix.lower() in IMAGE_SUFFIXES else text


def _by_folders(places: list[str]) -> list[str]:
    outside = places.count("")
    if outside:
        raise ValueError(f"{outside} of {len(places)} images lie outside its folders {', '.join(part for part in SPLITS if part in places)}; "
                         "move them into one, or give split= a CSV of name,split")
    return places


def split_csv(ids: list[str], places: list[str]) -> str:
    """The canonical CSV of a split, ids in the data set's order; its SHA-256 names the split in every record."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("name", "split"), *zip(ids, places)])
    return text.getvalue()


def write_split(path: str | Path, ids: list[str], splits: dict[str, np.ndarray]) -> None:
    """Write ``Dataset.splits`` as a CSV that ``read_split`` takes."""
    places = [""] * len(ids)
    for name, indices in splits.items():
        for index in indices:
            places[index] = name
    write_atomically(Path(path), split_csv(ids, places))


def resolve_split(
    name: str, ids: list[str], groups: list[str], split: str | Path | None, folders: list[Path], seed: int, own: list[str] | None = None
) -> tuple[dict[str, np.ndarray], dict, list[str]]:
    """Indices of each split, the manifest's account of it, and warnings.

    Args:
        split: "rule", "none", a CSV, or None: ``<name>.split.csv`` in the first of ``folders`` that holds one, else ``own``, else the rule.
        own: the split in whose folder each image lies, "" for none; what lies in one folder alone is not split by it.

    Raises:
        FileNotFoundError, ValueError: as ``read_split`` and ``rule_split``, or only some of the images lie in ``own`` folders.
    """
    file, rule = None, "none" if str(split) == "none" else "rule"
    if split is None:
        file = next((folder / f"{name}.split.csv" for folder in folders if (folder / f"{name}.split.csv").is_file()), None)
    elif str(split) != rule:
        file = Path(os.path.expanduser(split))
    if file is None and split is None and own and len(set(own)) > 1:
        rule = FOLDERS
    try:
        if file is not None:
            places = read_split(file, ids)
        elif rule == FOLDERS:
            places = _by_folders(own)
        else:
            places = rule_split(ids, groups, seed) if rule == "rule" else ["test"] * len(ids)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    indices = {part: np.flatnonzero([place == part for place in places]) for part in SPLITS}
    account = {
        "source": rule if file is None else file.name,
        "seed": seed if file is None and rule == "rule" else None,
        "sha256": hashlib.sha256(split_csv(ids, places).encode()).hexdigest(),
        "counts": {part: len(indices[part]) for part in SPLITS},
    }
    warnings = [f"the split {account['source']} has no images for {part}" for part in SPLITS if not len(indices[part]) and rule != "none"]
    straddling = sum(count > 1 for count in Counter(group for group, _ in set(zip(groups, places))).values())
    if straddling:
        warnings.append(f"the split {account['source']} has {straddling} patients (or videos) in more than one part: its scores are too good")
    return indices, account, warnings


def content_and_split(manifest: dict, part: str = "") -> list[str]:
    """Hashes of a data set's decoded images at their size, and of its split: what two loads must share for a run to belong to both.

    Args:
        part: of a union, whose hashes are wanted in place of the whole's.
    """
    return manifest.get("part_hashes", {}).get(part) or [manifest["content"], manifest["split"]["sha256"]]


def check_same_images(mine: list[str] | None, manifest: dict, run: str) -> None:
    """Refuse a run whose ``content_and_split`` is not that of the data set at hand: its test images may be among those it was trained on.

    Raises:
        ValueError: the message names the run.
    """
    if mine != content_and_split(manifest):
        raise ValueError(f"{run} is a run on other images or another split of {manifest['name']}; choose another folder or remove it")
