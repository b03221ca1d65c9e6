"""Open a finished run: its model, configuration, history, scores and record."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pandas as pd
from torch import nn

from ehanet.checkpoints import load_best, restore_model
from ehanet.config import RunConfig
from ehanet.metrics.scores import read_scores
from ehanet.records import id_of, read_record


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
        FileNotFoundError: no such run, the message names the finished ones; or its record alone is here, as in a fresh clone.
    """
    given = Path(os.path.expanduser(id_or_path))
    places = chain([given, Path(runs) / given], _recorded(given, runs, reports))
    folder = next((place for place in places if (place / "record.json").is_file()), None)
    if folder is None:
        known = [str(path.parent.relative_to(runs)) for path in finished_runs(runs)]
        raise FileNotFoundError(f"no finished run {str(id_or_path)!r}; finished: {', '.join(known) or 'none'}")
    if not (folder / "best.pt").is_file():
        raise FileNotFoundError(no_checkpoint(folder))
    *_, profile, dataset, label, seed = ("", "", "", *folder.resolve().parts)
    model, config = restore_model(load_best(folder))
    scores = Path(reports) / profile / "scores" / dataset / f"{label}__{seed}.csv"
    return Run(f"{profile}/{dataset}/{label}/{seed}", model, config, pd.read_csv(folder / "history.csv"),
               read_scores(scores) if scores.is_file() else None, read_record(folder / "record.json"))


def finished_runs(runs: str | Path = "runs") -> list[Path]:
    """The records of the finished runs below ``runs``, sorted by path."""
    return sorted(Path(runs).glob("*/*/*/seed*/record.json"))


def no_checkpoint(folder: Path) -> str:
    """What to say of a run's folder that holds a record alone, as those in ``reports`` do, and how to get the checkpoint."""
    *_, above, profile, dataset, label, seed = ("", "", "", "", *folder.resolve().parts)
    if re.fullmatch("[0-9a-f]{16}", above):  # of a repetition: repeated/<id of the record that it repeats>/runs/...
        name = above
    else:
        name = "/".join((above if profile == "runs" else profile, dataset, label, seed))  # in a report: <profile>/runs/<data set>/<label>/seed<k>
    way = f"make repeat RUN={name} trains it again" if re.fullmatch("seed[0-9]+", seed) else "train it again"
    return f"best.pt not found in {folder}, which holds a record but no checkpoint; {way}"


def _recorded(run: Path, runs: str | Path, reports: str | Path) -> Iterator[Path]:
    """Further folders that may hold the record of ``run``: by its record's id below ``runs``, then in the reports, which hold no checkpoints."""
    in_reports = sorted(Path(reports).glob("*/runs/*/*/seed*/record.json"))
    if re.fullmatch("[0-9a-f]{16}", str(run)):
        yield from (path.parent for path in chain(finished_runs(runs), in_reports) if id_of(path) == str(run))
    else:
        yield from (path.parent for path in in_reports if (path.parents[4].name, *path.parts[-4:-1]) == run.parts)
