"""Trained runs on images that they were not trained for: corrupted test images, and the images of another data set."""

from __future__ import annotations

import glob
import hashlib
import tempfile
from itertools import tee
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from torch import nn
from tqdm.auto import tqdm

from ehanet.checkpoints import load_best, restore_model
from ehanet.data import Dataset, load_dataset
from ehanet.data.catalogue import CATALOGUE
from ehanet.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt, occurring
from ehanet.data.duplicates import resembling
from ehanet.devices import device_or_other
from ehanet.files import clear_parts, part_path, write_atomically
from ehanet.inference import predict, predict_each
from ehanet.kept_scores import KeptScores, finished_run, kept_records, kept_scores
from ehanet.metrics import score_masks
from ehanet.metrics.regions import dice_per_image
from ehanet.records import write_record

COLUMNS = ["method", "label", "seed", "corruption", "severity", "image", "group", "dice"]
ELSEWHERE = ["image", "group", "dice", "iou", "precision", "recall", "boundary_f1", "hd95", "gt_empty", "pred_empty"]  # what is kept of an image of another data set: there are many
ROW = ("method", "label", "seed")
CLEAN = "none"  # the corruption of severity 0
ABSENT = "not available: no checkpoint here, nor scores of these images to keep"
PART_BYTES = 1_480_000  # of one file: hosts of repositories balk at large ones; more goes on in <name>.2.csv
PHANTOM_SEED = 1  # of another phantom data set of the same kind


class Trained(NamedTuple):
    """A run to be scored: method, label and seed; its record's id; the network; whether it predicts over flips."""

    row: dict
    record: str
    network: nn.Module
    flips: bool


def robustness_scores(data: Dataset, runs: str | Path, reports: str | Path, rows: list[dict], images: int = 32,
                      methods: list[str] | None = None, corruptions: list[str] | None = None) -> pd.DataFrame:
    """Score runs on corrupted test images into ``reports``/robustness/<data set>.csv, with its record beside it.

    Args:
        runs: folder of the data set's runs, <label>/seed<k>/best.pt below it.
        rows: ``{"method", "label", "seed"}`` of each finished run, with ``"kept": True`` where the report holds it: where its checkpoint is gone, its scores of the same
            images are taken from the file as they are, whatever code computed them; the record's ``about`` then says, as ``kept``, whose they are.
        images: at most so many test images, at equal steps; each has its own seed, the same for every run and severity.
        methods: labels to take; None takes all. corruptions: None takes those that occur in the data set's modality.

    Returns:
        method, label, seed, corruption ("none" for the images as they are), severity (0 to 5), image, group, dice, a run after the other. The record's
        ``absent`` names the rows that could not be predicted, with the reason: a kept report holds predictions but no checkpoints.

    Raises:
        ValueError: an unknown label or corruption.
    """
    names = corruptions or occurring(data.name)
    for name in names:
        if name not in CORRUPTIONS:
            raise ValueError(f"corruptions: {name!r} is unknown; known: {', '.join(CORRUPTIONS)}")
    indices = _equal_steps(data.splits["test"], images)
    conditions = [(CLEAN, 0)] + [(name, severity) for name in names for severity in SEVERITIES]
    file, rows = Path(reports) / "robustness" / f"{data.name}.csv", _chosen(rows, methods)
    models, kept = _gather(Path(runs), file, data.name, rows, {data.ids[index]: data.groups[index] for index in indices}, data.manifest, set(conditions))
    scenes = (((name, severity, index), data.images[index] if name == CLEAN else corrupt(data.images[index], name, severity, seed=int(index)))
              for name, severity in conditions for index in indices)
    # one stream for each run, in step, so that a network is made ready once and an image is corrupted once
    streams = [predict_each(one.network, stream, flips=one.flips) for one, stream in zip(models, tee(scenes, len(models)))]
    found = []
    for predictions in tqdm(zip(*streams), desc=f"corruptions of {data.name}", unit="image", total=len(conditions) * len(indices), disable=None):
        for one, ((name, severity, index), probability) in zip(models, predictions):
            dice = dice_per_image(probability[None], data.masks[index][None].astype(bool))[0]
            found.append({**one.row, "corruption": name, "severity": severity, "image": data.ids[index], "group": data.groups[index], "dice": dice})
    return _write(file, rows, models, pd.DataFrame(found, columns=COLUMNS), kept, data=data.manifest, images=len(indices))


def cross_scores(data: Dataset, other: Dataset, runs: str | Path, reports: str | Path, rows: list[dict], images: int = 200,
                 methods: list[str] | None = None) -> pd.DataFrame:
    """Score runs of ``data`` on the images of ``other``, another data set, into ``reports``/robustness/<data set>__on__<other>.csv.

    Args:
        images: at most so many of the other's images, at equal steps.

    Returns:
        Columns of ``score_masks`` (``ELSEWHERE``) with method, label and seed in front; further arguments and errors as in :func:`robustness_scores`. The record's
        ``about`` names, as ``alike``, the images that look like one of ``data``.

    Raises:
        ValueError: ``other`` holds the images of ``data``, or of a part of it.
    """
    seen = [data.manifest["content"], *(content for content, _ in data.manifest.get("part_hashes", {}).values())]
    if other.manifest["content"] in seen:
        raise ValueError(f"across: {other.name} holds the images that the runs of {data.name} learned from; name another data set, or leave {data.name} out of this study")
    indices = _equal_steps(np.arange(len(other.ids)), images)
    pictures, labels = np.ascontiguousarray(other.images[indices]), other.masks[indices]
    ids, groups = [other.ids[index] for index in indices], [other.groups[index] for index in indices]
    file, rows = Path(reports) / "robustness" / f"{data.name}__on__{other.name}.csv", _chosen(rows, methods)
    models, kept = _gather(Path(runs), file, data.name, rows, dict(zip(ids, groups)), other.manifest)
    parts = []
    for one in tqdm(models, desc=f"{data.name} on {other.name}", unit="run", disable=None):
        scores = score_masks(np.asarray(predict(one.network, pictures, flips=one.flips)), labels, ids=ids, groups=groups)[ELSEWHERE]
        parts.append(pd.concat([pd.DataFrame([one.row] * len(scores)), scores], axis=1))
    about = {"alike": [ids[index] for index in resembling(pictures, data.images)]}
    found = _write(file, rows, models, pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS), kept, about, data=other.manifest, images=len(indices), trained_on=data.manifest)
    for left in file.parent.glob(f"{glob.escape(data.name)}__on__*"):
        if not left.name.startswith(f"{file.stem}."):
            left.unlink()  # of another data set that the study crossed over to before; the report has one
    return found


def other_dataset(name: str, size: int, source: str | None = None) -> Dataset:
    """The data set to cross over to: a folder with images/ and masks/, a data set's name, or a phantom's, which is drawn anew with another
    seed and read like a folder of one's own."""
    if not name.startswith("phantom-"):
        return load_dataset(name, root=source if name in CATALOGUE else None, size=size)  # a folder of one's own goes by its path
    with tempfile.TemporaryDirectory() as folder:
        return load_dataset(write_phantom_folder(name, size, Path(folder), PHANTOM_SEED), size=size)


def write_phantom_folder(name: str, size: int, parent: Path, seed: int) -> Path:
    """Draw a phantom data set as PNG files into ``parent``/<name>-seed<k>/images and masks, as a user's folder looks; returns the folder."""
    from ehanet.data.phantoms import make_phantom

    phantom, folder = make_phantom(name, size, seed), parent / f"{name}-seed{seed}"
    for part, arrays in (("images", phantom.images), ("masks", phantom.masks * 255)):
        (folder / part).mkdir(parents=True)
        for image_id, array in zip(phantom.ids, arrays):
            Image.fromarray(array).save(folder / part / f"{image_id}.png")
    return folder


def _chosen(rows: list[dict], methods: list[str] | None) -> list[dict]:
    known = list(dict.fromkeys(row["label"] for row in rows))
    for label in methods or []:
        if label not in known:
            raise ValueError(f"methods: {label!r} is not among the runs: {', '.join(known)}")
    return [row for row in rows if not methods or row["label"] in methods]


def _gather(runs: Path, file: Path, dataset: str, rows: list[dict], groups: dict[str, str], manifest: dict,
            conditions: set[tuple[str, int]] | None = None) -> tuple[list[Trained], KeptScores]:
    """The networks of the rows whose checkpoints are here, and what ``file`` has of the kept rows whose checkpoints are not; other arguments as of ``kept_scores``.

    A checkpoint of another training of the same name, which may lie in ``runs``, is not the kept row's.
    """
    records, models, gone = kept_records(file.parents[1], dataset, rows), [], {}
    for row in rows:
        run, folder = (row["label"], row["seed"]), runs / row["label"] / f"seed{row['seed']}"
        if record := finished_run(folder, records.get(run)):
            network, config = restore_model(load_best(folder))
            models.append(Trained({key: row[key] for key in ROW}, record, network.to(device_or_other(config.device)), config.test_flips))
        elif run in records:
            gone[run] = records[run]
    return models, kept_scores(file, gone, groups, manifest, conditions)


def _equal_steps(indices: np.ndarray, count: int) -> np.ndarray:
    if count < 1:
        raise ValueError(f"images: must be at least 1, got {count}")
    return np.asarray(indices)[np.unique(np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int))]


def _write(file: Path, rows: list[dict], models: list[Trained], found: pd.DataFrame, kept: KeptScores, about: dict | None = None, **fields) -> pd.DataFrame:
    """Write the scores found and those kept, a run after the other in the order of ``rows``, and their record; returns the scores."""
    records = {(one.row["label"], one.row["seed"]): one.record for one in models} | kept.runs
    runs = [(row["label"], row["seed"]) for row in rows]
    scores = pd.concat([part for part in (found, kept.scores) if len(part)] or [found], ignore_index=True)
    places = {run: place for place, run in enumerate(runs)}
    order = np.argsort([places[run] for run in zip(scores["label"], scores["seed"])], kind="stable")
    scores = scores.iloc[order].reset_index(drop=True)
    own_groups = (scores["group"] == scores["image"]).all()  # said once: hashes for names are half of the file
    table = scores.drop(columns="group") if own_groups else scores
    texts = [table.to_csv(index=False, float_format="%.6g")]
    if (count := -(-len(texts[0]) // PART_BYTES)) > 1:
        texts = [table.iloc[len(table) * part // count:len(table) * (part + 1) // count].to_csv(index=False, float_format="%.6g") for part in range(count)]
    hashes = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    absent = [{**{key: row[key] for key in ROW}, "reason": ABSENT} for row, run in zip(rows, runs) if run not in records]
    about = (about or {}) | ({"kept": kept.origin} if kept.origin else {})
    # the record first, since making it takes a second: scores without theirs would not be kept another time
    write_record(file.with_suffix(".json"), kind="scores", modules=["ehanet.robustness"], csv_sha256=hashes if count > 1 else hashes[0], inputs=[records[run] for run in runs if run in records],
                 absent=absent, **fields, **({"about": about} if about else {}))
    for number, text in enumerate(texts, start=1):
        write_atomically(part_path(file, number), text)
    clear_parts(file, count)
    return scores
