"""Open a finished run: its model, configuration, history, scores and record."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from torch import nn

from ehanet.checkpoints import load_best, restore_model
from ehanet.config import RunConfig
from ehanet.metrics.scores import read_scores
from ehanet.records import read_record


@dataclass(frozen=True)
class Run:
    """What one training made. ``scores`` is None until the run has been evaluated."""

    id: str
    model: nn.Module
    config: RunConfig
    history: pd.DataFrame
    scores: pd.DataFrame | None
    record: dict


def load_run(id_or_path: str | Path, runs: str | Path = "runs", reports: str | Path = "reports") -> Run:
    """Open a finished run.

    Args:
        id_or_path: its folder; its id ``<profile>/<dataset>/<label>/seed<k>`` below ``runs``; or its record's id (16 hex digits).
        runs: the folder of the runs.
        reports: the folder of the reports, for the run's scores.

    Raises:
        FileNotFoundError: no such run; the message names the finished ones.
    """
    folder = Path(id_or_path)
    if not (folder / "record.json").is_file():
        folder = Path(runs) / id_or_path
    if not (folder / "record.json").is_file() and re.fullmatch("[0-9a-f]{16}", str(id_or_path)):
        folder = next((path.parent for path in finished_runs(runs) if _record_id(path) == str(id_or_path)), folder)
    if not (folder / "record.json").is_file():
        known = [str(path.parent.relative_to(runs)) for path in finished_runs(runs)]
        raise FileNotFoundError(f"no finished run {str(id_or_path)!r}; finished: {', '.join(known) or 'none'}")
    *_, profile, dataset, label, seed = ("", "", "", *folder.resolve().parts)
    model, config = restore_model(load_best(folder))
    scores = Path(reports) / profile / "scores" / dataset / f"{label}__{seed}.csv"
    return Run(f"{profile}/{dataset}/{label}/{seed}", model, config, pd.read_csv(folder / "history.csv"),
               read_scores(scores) if scores.is_file() else None, read_record(folder / "record.json"))


def finished_runs(runs: str | Path = "runs") -> list[Path]:
    """The records of the finished runs below ``runs``, sorted by path."""
    return sorted(Path(runs).glob("*/*/*/seed*/record.json"))


def _record_id(path: Path) -> str | None:
    try:
        return json.loads(path.read_text())["id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # damaged: opening it says so
