"""Open a finished run: its model, configuration, history, scores and record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from torch import nn

from ehanet.checkpoints import load_checkpoint, restore_model
from ehanet.config import RunConfig
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
    """Open a run by its folder, or by its id ``<profile>/<dataset>/<label>/seed<k>`` below ``runs``.

    Raises:
        FileNotFoundError: no such run; the message names the finished ones.
    """
    folder = Path(id_or_path)
    if not (folder / "record.json").is_file():
        folder = Path(runs) / id_or_path
    if not (folder / "record.json").is_file():
        known = sorted(str(path.parent.relative_to(runs)) for path in Path(runs).glob("*/*/*/seed*/record.json"))
        raise FileNotFoundError(f"no finished run {str(id_or_path)!r}; finished: {', '.join(known) or 'none'}")
    profile, dataset, label, seed = folder.resolve().parts[-4:]
    model, config = restore_model(load_checkpoint(folder / "best.pt"))
    scores = Path(reports) / profile / "scores" / dataset / f"{label}__{seed}.csv"
    return Run(f"{profile}/{dataset}/{label}/{seed}", model, config, pd.read_csv(folder / "history.csv"),
               pd.read_csv(scores) if scores.is_file() else None, read_record(folder / "record.json"))
