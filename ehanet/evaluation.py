"""Predict and score the finished runs of a data set: one CSV a run, one row an image, with its record."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

import pandas as pd

from ehanet.data import Dataset
from ehanet.data.splits import check_same_images, content_and_split
from ehanet.files import file_sha256
from ehanet.inference import predict_run
from ehanet.metrics import score_masks, score_volumes
from ehanet.metrics.released import score_choice
from ehanet.models.registry import method
from ehanet.plugins import load_plugin
from ehanet.predictions import predictions_path, read_predictions, write_predictions
from ehanet.records import read_record, write_record


def evaluate_runs(data: Dataset, runs: str | Path, reports: str | Path, rows: list[dict], absent: list[dict] = ()) -> pd.DataFrame:
    """Score the test split with every run and write ``reports``/scores/<data set>/ and ``reports``/predictions/<data set>/ anew, all or nothing.

    The folder gets <label>__seed<k>.csv with a .json record each, score_choice.csv (the same predictions under other evaluations) and, where images form
    volumes, volumes.csv, each with its record, and methods.json: the rows of the data set's tables in order, ``{"method", "label", "seeds", "reason"}``,
    where ``reason`` says why a row has no numbers and is empty otherwise. The record of score_choice.csv keeps the hash of methods.json as well.

    Args:
        runs: folder of the data set's runs, <label>/seed<k>/ below it.
        rows: ``{"method", "label", "seed"}`` of each finished run; with ``"kept": True`` the record and the maps that the report holds already
            stand for a run that is no longer there. absent: ``{"method", "label", "reason"}``.

    Returns:
        All scores, with the columns label and seed in front.
    """
    reports = Path(reports)
    with _replaced(reports / "predictions" / data.name) as maps, _replaced(reports / "scores" / data.name) as folder:
        tables = [_score(data, Path(runs), reports, folder, maps, row) for row in rows]
        for row in absent:  # what cannot be trained here may be kept another time
            for left in (reports / "predictions" / data.name).glob(f"{escape(row['label'])}__seed*.npz"):
                shutil.copy2(left, maps)
        (folder / "methods.json").write_text(json.dumps(_methods(rows, absent), indent=1) + "\n")
        listing = {"methods_sha256": file_sha256(folder / "methods.json")}
        _write_together(folder / "score_choice.csv", [choice for _, choice, _ in tables], data, **listing)
        if volumes := [found for _, _, found in tables if found is not None]:
            _write_together(folder / "volumes.csv", volumes, data)
    return pd.concat([table[0] for table in tables], ignore_index=True)


def _write_together(path: Path, parts: list[pd.DataFrame], data: Dataset, **fields) -> None:
    """One CSV of all runs that were just scored, and its record, made from theirs."""
    pd.concat(parts, ignore_index=True).to_csv(path, index=False, float_format="%.6g")
    inputs = [read_record(record)["id"] for record in sorted(path.parent.glob("*__seed*.json"))]
    write_record(path.with_suffix(".json"), kind="scores", modules=["ehanet.evaluation"], data=data.manifest, inputs=inputs, csv_sha256=file_sha256(path), **fields)


@contextmanager
def _replaced(target: Path) -> Iterator[Path]:
    """An empty folder that takes the place of ``target`` when the block ends well. One of the two is there at any time, in a name that the next call finds."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}-before")
    if aside.is_dir() and not target.exists():  # killed between the two renames
        os.replace(aside, target)
    for left in target.parent.glob(f".{target.name}-*"):  # by a run that was killed; the random end holds no "-", a longer name would
        if left.name.rpartition("-")[0] == f".{target.name}":
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        yield folder
        folder.chmod(0o755)
        if target.exists():
            os.replace(target, aside)
        os.replace(folder, target)
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _score(data: Dataset, runs: Path, reports: Path, folder: Path, maps: Path, row: dict) -> tuple[pd.DataFrame, ...]:
    """Write the maps of a run, their scores and the record; returns the scores, what the choice of score does, and the scores of whole
    volumes (None where every image is a group of its own, the groups are videos, or the data set is a union). All are of the stored maps, so that they can be computed again from them."""
    name, place = f"{row['label']}__seed{row['seed']}", f"{row['label']}/seed{row['seed']}"
    kept = row.get("kept")
    home = (reports / "runs" / data.name if kept else runs) / place
    run = read_record(home / "record.json")
    check_same_images(content_and_split(run["data"], data.name), data.manifest, str(home))
    found = read_predictions(predictions_path(reports, data.name, row["label"], row["seed"])) if kept else predict_run(home, data)
    if found.run != run["id"]:
        raise ValueError(f"{reports}: the kept predictions of {name} are of another run; run make paper without KEEP")
    write_predictions(maps / f"{name}.npz", found)
    stored = read_predictions(maps / f"{name}.npz")
    ids, probabilities = stored.ids, stored.probabilities
    place = {image: index for index, image in enumerate(data.ids)}
    indices = [place[image] for image in ids]
    labels, groups = data.masks[indices], [data.groups[index] for index in indices]
    scores = score_masks(probabilities, labels, ids=ids, groups=groups)
    choice = score_choice(probabilities, labels, ids)
    stacked = len(set(groups)) < len(ids) and data.manifest.get("grouped_by") != "videos" and "part_hashes" not in data.manifest  # of a union, only some are
    volumes = score_volumes(probabilities, labels, groups, ids) if stacked else None
    scores.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
    load_plugin(run["config"].get("plugin"))
    write_record(folder / f"{name}.json", kind="scores", modules=["ehanet.evaluation"], config=run["config"], seed=row["seed"], note=method(row["method"]).note,
                 data=data.manifest, encoder=run["encoder"], precision=run["precision"], device=run["device"], inputs=[run["id"]], trained_at=run["code"]["commit"], warnings=run["warnings"],
                 run="/".join([*runs.parts[-2:], row["label"], f"seed{row['seed']}"]), csv_sha256=file_sha256(folder / f"{name}.csv"))
    own = {"label": row["label"], "seed": row["seed"]}
    return scores.assign(**own), choice.assign(**own), None if volumes is None else volumes.assign(**own)


def _methods(rows: list[dict], absent: list[dict]) -> list[dict]:
    found: dict[str, dict] = {}
    for row in rows:
        found.setdefault(row["label"], {"method": row["method"], "label": row["label"], "seeds": [], "reason": ""})["seeds"].append(row["seed"])
    return [*found.values(), *({"method": row["method"], "label": row["label"], "seeds": [], "reason": row["reason"]} for row in absent)]
