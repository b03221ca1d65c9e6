"""Predict and score the finished runs of a data set: one CSV a run, one row an image, with its record."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from ehanet.data import Dataset
from ehanet.inference import predict_run
from ehanet.metrics import score_masks, score_volumes
from ehanet.metrics.released import score_choice
from ehanet.records import read_record, write_record


def evaluate_runs(data: Dataset, runs: str | Path, reports: str | Path, rows: list[dict], absent: list[dict] = ()) -> pd.DataFrame:
    """Score the test split with every run and write ``reports``/scores/<data set>/ anew, all of it or nothing.

    The folder gets <label>__seed<k>.csv with a .json record each, score_choice.csv (the same predictions under other evaluations), volumes.csv where
    images form volumes, and methods.json: the rows of the data set's tables in order,
    ``{"method", "label", "seeds", "reason"}``, where ``reason`` says why a row has no numbers and is empty otherwise.

    Args:
        runs: folder of the data set's runs, <label>/seed<k>/ below it.
        rows: ``{"method", "label", "seed"}`` of each finished run. absent: ``{"method", "label", "reason"}``.

    Returns:
        All scores, with the columns label and seed in front.
    """
    target = Path(reports) / "scores" / data.name
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{data.name}-*"):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{data.name}-"))
    try:
        tables = [_score(data, Path(runs) / row["label"] / f"seed{row['seed']}", folder, row) for row in rows]
        for index, name in enumerate(("score_choice.csv", "volumes.csv"), start=1):
            if parts := [table[index] for table in tables if table[index] is not None]:
                pd.concat(parts, ignore_index=True).to_csv(folder / name, index=False, float_format="%.6g")
        (folder / "methods.json").write_text(json.dumps(_methods(rows, absent), indent=1) + "\n")
        folder.chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return pd.concat([table[0] for table in tables], ignore_index=True)


def _score(data: Dataset, run_dir: Path, folder: Path, row: dict) -> tuple[pd.DataFrame, ...]:
    """Write the scores of a run and their record; returns them, what the choice of score does, and the scores of whole volumes (None
    where every image is a group of its own)."""
    run = read_record(run_dir / "record.json")
    with np.load(predict_run(run_dir, data)) as predictions:
        ids, probabilities = predictions["ids"].tolist(), predictions["probabilities"].astype(np.float32)
    place = {image: index for index, image in enumerate(data.ids)}
    indices = [place[image] for image in ids]
    labels, groups = data.masks[indices], [data.groups[index] for index in indices]
    scores = score_masks(probabilities, labels, ids=ids, groups=groups)
    choice = score_choice(probabilities, labels, ids)
    volumes = score_volumes(probabilities, labels, groups, ids) if len(set(groups)) < len(ids) else None
    name = f"{row['label']}__seed{row['seed']}"
    scores.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
    write_record(folder / f"{name}.json", kind="scores", modules=["ehanet.evaluation"], config=run["config"], seed=row["seed"],
                 data=data.manifest, encoder=run["encoder"], inputs=[run["id"]], warnings=run["warnings"],
                 run="/".join(run_dir.parts[-4:]))
    own = {"label": row["label"], "seed": row["seed"]}
    return scores.assign(**own), choice.assign(**own), None if volumes is None else volumes.assign(**own)


def _methods(rows: list[dict], absent: list[dict]) -> list[dict]:
    found: dict[str, dict] = {}
    for row in rows:
        found.setdefault(row["label"], {"method": row["method"], "label": row["label"], "seeds": [], "reason": ""})["seeds"].append(row["seed"])
    return [*found.values(), *({"method": row["method"], "label": row["label"], "seeds": [], "reason": row["reason"]} for row in absent)]
