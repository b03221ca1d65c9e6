"""Scores of whole volumes, where the images are slices of patients: the table beside the comparison, which takes the mean over slices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ehanet.reporting.results import Result, mark_of, read_together
from ehanet.reporting.tables import Column, Score, Table
from ehanet.reporting.tracks import compare_tracks, track_column, tracks_of
from ehanet.reporting.wording import dataset_title

SHOWN = {"dice": "Dice", "iou": "IoU", "precision": "Precision", "recall": "Recall"}
EMPTY = ["gt_empty", "pred_empty"]


def volumes_table(reports: Path, dataset: str, rows: list[Result]) -> Table | None:
    """tables/volumes_<dataset> from scores/<dataset>/volumes.csv, not yet written; None where the images form no volumes.

    Args:
        rows: as ``ehanet.reporting.results.read_results`` returns them.

    Raises:
        ValueError: volumes.csv is damaged, was altered, or lacks a run.
    """
    if not (reports / "scores" / dataset / "volumes.csv").is_file():
        return None
    every = read_together(reports, dataset, "volumes.csv", ["label", "seed", "group", *SHOWN, *EMPTY])
    whole = [replace(row, frames=[_volumes(every, row.label, seed, reports, dataset) for seed in row.seeds]) for row in rows if row.frames]
    statistics, track, mark = {score: compare_tracks(whole, score) for score in SHOWN}, tracks_of(whole), mark_of(whole)
    columns = [Column("title", "Method"), Column("label", "Label", shown=False), track_column(whole),
               *[Column(score, title, "score") for score, title in SHOWN.items()],
               Column("dice_lowest", "Lowest Dice", "score"), Column("missed", "Missed", "count"), Column("spurious", "Spurious", "count"),
               Column("dice_slices", "mDice, slices", "score"), Column("mark", "Mark")]
    body = [_row(sliced, volumes, statistics, mark) | {"track": track[volumes.label]}
            for sliced, volumes in zip([row for row in rows if row.frames], whole)] + [row.empty_cells for row in rows if not row.frames]
    count = len(whole[0].frames[0])
    notes = [f"Each volume is scored as a whole, from the pixels of all its slices together; cells: mean over {count} volumes (and seeds) with its 95 % bootstrap interval over volumes.",
             "A slice counts by its pixels here; mDice, slices, is the mean over slices of the comparison, where a slice without an object counts as much as any other.",
             "Missed: nothing is drawn in a volume that holds an object. Spurious: the reverse. Both count volumes" + (" of all seeds." if any(len(row.seeds) > 1 for row in whole) else ".")]
    return Table(f"volumes_{dataset}", f"{dataset_title(dataset)}: whole volumes", mark, columns, body, notes)


def _volumes(every: pd.DataFrame, label: str, seed: int, reports: Path, dataset: str) -> pd.DataFrame:
    """The volumes of one run, as a score table: each is an image and a group of its own."""
    own = every[(every["label"] == label) & (every["seed"] == seed)].reset_index(drop=True)
    if own.empty:
        raise ValueError(f"{reports / 'scores' / dataset / 'volumes.csv'} lacks {label}, seed {seed}; run the evaluation step of {dataset} again")
    return own.astype(dict.fromkeys(EMPTY, bool)).assign(image=own["group"])


def _row(sliced: Result, volumes: Result, statistics: dict[str, pd.DataFrame], mark: str) -> dict:
    cells = {"title": volumes.title, "label": volumes.label, "mark": mark, "dice_slices": Score(float(pd.concat(sliced.frames)["dice"].mean())),
             "dice_lowest": Score(float(np.min([frame["dice"].min() for frame in volumes.frames]))),
             "missed": volumes.missed, "spurious": volumes.spurious}
    for score, table in statistics.items():
        found = table.loc[volumes.label]
        cells[score] = Score(*(float(found[name]) for name in ("mean", "low", "high")), bool(found["bold"]))
    return cells
