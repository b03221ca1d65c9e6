"""Score one checkpoint on a data set or on a folder of labelled images, and say in rows and sentences how it did.

The rows and sentences are those of the model card (``ehanet.hub``) and of ``python -m ehanet score``.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from torch import nn
from tqdm.auto import tqdm

from ehanet.config import find_weights
from ehanet.data import Dataset
from ehanet.data.catalogue import CATALOGUE
from ehanet.data.splits import SPLITS, content_and_split
from ehanet.files import file_sha256, write_atomically
from ehanet.inference import predict_each
from ehanet.metrics import score_masks
from ehanet.metrics.statistics import compare
from ehanet.models.pretrained import read_about
from ehanet.records import read_record, write_record
from ehanet.reporting.results import PHANTOM, mark_of_manifest
from ehanet.reporting.tables import Score
from ehanet.reporting.wording import dataset_title
from ehanet.reporting.writers import format_score

ALL = "all"  # in place of a split
SHOWN = {"dice": 3, "iou": 3, "boundary_f1": 3, "hd95": 2}  # decimals
POOR_DICE = 0.5


def score_dataset(model: nn.Module, data: Dataset, split: str = "test", flips: bool = False, precision: str = "float32") -> pd.DataFrame:
    """Predict the images of a split and score them at the data set's size, as the reports do.

    Args:
        data: loaded at the size that the network was trained at. split: "train", "val", "test" or "all".
        flips, precision: as in :func:`ehanet.predict`.

    Returns:
        One row an image, columns of :func:`ehanet.metrics.score_masks`.

    Raises:
        ValueError: an unknown or an empty split.
    """
    if split not in (*SPLITS, ALL):
        raise ValueError(f"split: {split!r} is none of {', '.join((*SPLITS, ALL))}")
    indices = np.arange(len(data.ids)) if split == ALL else np.asarray(data.splits[split])
    if not len(indices):
        raise ValueError(f"{data.name}: the {split} split is empty; choose another, or {ALL}")
    stream = ((index, data.images[index]) for index in tqdm(indices, desc=data.name, unit="image", disable=None))
    found = dict(predict_each(model, stream, data.manifest["size"], flips=flips, precision=precision))
    return score_masks(np.stack([found[index] for index in indices]), data.masks[indices], ids=[data.ids[index] for index in indices],
                       groups=[data.groups[index] for index in indices])


class Learned(NamedTuple):
    """A data set whose training images a checkpoint learned from: its name, and the first 16 hex digits of the hashes of its content and of its split ("":
    not recorded)."""

    name: str
    content: str
    split: str


def learned_from(checkpoint: str | Path) -> list[Learned]:
    """What a checkpoint learned from, as far as it says so: a .safetensors file by its description, a run's best.pt by the record beside it."""
    checkpoint = Path(checkpoint)
    if checkpoint.suffix == ".safetensors":
        return [Learned(one["name"], one["content"], one.get("split", "")) for one in read_about(checkpoint).get("data", []) if one.get("content")]
    if not (path := checkpoint.with_name("record.json")).is_file():
        return []
    record = read_record(path)
    data, config = record["data"], record["config"]
    hashes = {data["name"]: content_and_split(data), **data.get("part_hashes", {})}
    found = [Learned(name, content[:16], split[:16]) for name, (content, split) in hashes.items()]
    for file in filter(None, (config.get("initial_weights"), config.get("teacher"))):  # what they learned is in it, too
        with suppress(FileNotFoundError):
            found += [one for one in learned_from(find_weights(file)) if one.name not in {own.name for own in found}]
    return found


def _has_seen(checkpoint: str | Path, manifest: dict, split: str) -> str:
    """A sentence where a checkpoint has seen images of what is scored, or may have; else nothing."""
    content, own_split = (value[:16] for value in content_and_split(manifest))
    # a public data set by its name, too: the official archive and a smaller copy of it differ in content
    known = [one for one in learned_from(checkpoint) if one.content == content or one.name == manifest["name"] in CATALOGUE]
    if split != "test" and known:
        return "the checkpoint learned from training images of this data set; only its test split shows how it does on others"
    if any(one.split not in ("", own_split) for one in known):
        return "the checkpoint learned from this data set in another split, so some of these test images may be among those it was trained on"
    return ""


def write_scores(path: str | Path, frame: pd.DataFrame, data: Dataset, checkpoint: str | Path, **about) -> None:
    """The scores of :func:`score_dataset` as a CSV, and its record beside it, which names the checkpoint by its SHA-256.

    Args:
        path: of the CSV. about: how it was predicted, for the record.
    """
    path, checkpoint = Path(path), Path(checkpoint)
    write_atomically(path, frame.to_csv(index=False, float_format="%.6g"))
    write_record(record_place(path), kind="scores", modules=["ehanet.scoring"], data=data.manifest, inputs=[], images=len(frame),
                 about={"checkpoint": checkpoint.name, **about}, checkpoint_sha256=file_sha256(checkpoint), csv_sha256=file_sha256(path))


def record_place(path: Path) -> Path:
    """Where the record of a CSV of scores lies."""
    return path.with_suffix(".json")


def check_record_place(path: Path) -> None:
    """Refuse a CSV whose record would take the place of a file that is none.

    Raises:
        ValueError: FILE.json beside FILE.csv is somebody's own.
    """
    place = record_place(path)
    with suppress(FileNotFoundError):
        try:
            kind = read_record(place)["kind"]
        except ValueError:
            kind = None
        if kind != "scores":
            raise ValueError(f"{place} is there already and no record of scores; the one of {path} would replace it, so give --out another name")


def describe_scores(frame: pd.DataFrame, data: Dataset, checkpoint: str | Path, split: str) -> str:
    """What people read of :func:`score_dataset`: what was scored, means with intervals, what went wrong, and what to know before quoting it."""
    size, rows = data.manifest["size"], score_rows(data.manifest, frame)
    which = (f"all {len(frame)} images" if len(frame) > 1 else "the one image") if split == ALL else f"the {split} split"
    lines = [f"{checkpoint} on {which} of {dataset_title(data.name)}, at {size} x {size} pixels{'; means with 95 % intervals' if len(frame) > 1 else ''}{' (phantom data)' if rows[0]['mark'] == PHANTOM else ''}"]
    table = pd.DataFrame([{"": row["title"], "images": row["images"], "Dice": row["dice"], "IoU": row["iou"], "boundary F1": row["boundary_f1"],
                           "HD95 (px)": row["hd95"]} for row in rows])
    lines += [table.to_string(index=False), *failures(data.manifest, frame, "images")]
    notes = [_has_seen(checkpoint, data.manifest, split), *data.manifest["warnings"]]
    return "\n".join([*lines, *(f"note: {note}" for note in notes if note)])


def score_rows(manifest: dict, frame: pd.DataFrame) -> list[dict]:
    """Means with 95 % bootstrap intervals, as text: the row of a data set, and where some of its images hold no object, a second one over those that do.

    Returns:
        name, title, images, mark, and each score of ``SHOWN``.
    """
    title, empty = dataset_title(manifest["name"]), frame["gt_empty"].astype(bool)
    rows = []
    for name, part in {title: frame, **({f"{title}, images with an object": frame[~empty]} if empty.any() and not empty.all() else {})}.items():
        row = {"name": manifest["name"], "title": name, "images": len(part), "mark": mark_of_manifest(manifest)}
        for score, digits in SHOWN.items():
            cell = compare({"ehanet": part}, score).iloc[0]
            several = part["group"].nunique() > 1  # of one image nothing can be drawn anew
            mean, interval = format_score(Score(cell["mean"], *((cell["low"], cell["high"]) if several else ())), digits)
            row[score] = f"{mean} [{interval}]" if interval else mean
        rows.append(row)
    return rows


def failures(manifest: dict, frame: pd.DataFrame, images: str = "test images") -> list[str]:
    """Sentences about the images that went wrong, which are called ``images``."""
    title, labels, predictions = dataset_title(manifest["name"]), frame["gt_empty"].astype(bool), frame["pred_empty"].astype(bool)
    held, those = frame[~labels], images + (" that hold an object" if labels.any() else "")
    lines = []
    if len(held):
        worst = ", ".join(f"{row.image} ({row.dice:.2f})" for row in held.nsmallest(3, "dice").itertuples())
        lines.append(f"{title}: Dice below {POOR_DICE} on {int((held['dice'] < POOR_DICE).sum())} of {len(held)} {those}; the worst {'are' if len(held) > 1 else 'is'} {worst}.")
    if missed := int((~labels & predictions).sum()):
        lines.append(f"{title}: nothing found on {missed} of {len(held)} {those}.")
    if labels.any():
        lines.append(f"{title}: something found on {int((labels & ~predictions).sum())} of {int(labels.sum())} {images} that hold none.")
    return lines
