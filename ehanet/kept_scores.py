"""Scores of single images that a report holds of its kept runs, whose checkpoints may be gone: taken as they are where they are of the same images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ehanet.data.splits import content_and_split
from ehanet.records import read_record
from ehanet.reporting.results import read_corrupted


@dataclass(frozen=True)
class KeptScores:
    """What a file of scores has of the kept runs.

    scores: the rows of the file. runs: (label, seed) -> id of the training's record. origin: the records that computed them, as a record keeps them
    in ``about``: ``{"record", "created", "commit", "runs"}`` each.
    """

    scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    runs: dict[tuple[str, int], str] = field(default_factory=dict)
    origin: list[dict] = field(default_factory=list)


def kept_scores(file: Path, kept: dict[tuple[str, int], str], groups: dict[str, str], data: dict, conditions: set[tuple[str, int]] | None = None) -> KeptScores:
    """The scores in ``file`` of kept runs, none where the file is missing, altered, or of other images.

    Args:
        file: as ``ehanet.robustness`` writes it, its record beside it.
        kept: (label, seed) of each kept run -> id of its record, which the file's record must name.
        groups: the images to score -> their groups. data: manifest of their data set. conditions: (corruption, severity) of each image; None: as it is.
    """
    try:
        scores, record = read_corrupted(file)
        same = content_and_split(record["data"]) == content_and_split(data) and set(scores["image"]) == set(groups)
        same = same and (conditions is None or set(zip(scores["corruption"], scores["severity"])) == conditions)
    except (OSError, ValueError, KeyError):
        return KeptScores()
    there = set(zip(scores["label"], scores["seed"])) if same else set()
    runs = {run: name for run, name in kept.items() if run in there and name in record["inputs"]}
    if not runs:
        return KeptScores()
    own = pd.MultiIndex.from_frame(scores[["label", "seed"]]).isin(runs)
    return KeptScores(scores[own].assign(group=scores["image"].map(groups)), runs, _origin(record, set(runs.values())))


def kept_records(reports: Path, dataset: str, rows: list[dict]) -> dict[tuple[str, int], str]:
    """(label, seed) -> id of the training's record of the rows that a report keeps."""
    return {(row["label"], row["seed"]): read_record(reports / "runs" / dataset / row["label"] / f"seed{row['seed']}" / "record.json")["id"]
            for row in rows if row.get("kept")}


def finished_run(folder: Path, wanted: str | None = None) -> str | None:
    """Id of the record of the finished run in ``folder``; None where record or checkpoint are missing, or are of another training than that with the record ``wanted``."""
    if not all((folder / name).is_file() for name in ("best.pt", "record.json")):
        return None
    record = read_record(folder / "record.json")["id"]
    return record if wanted in (None, record) else None


def _origin(record: dict, runs: set[str]) -> list[dict]:
    """Who computed the scores of ``runs``: the records that ``record`` kept some from, then itself."""
    earlier = [{**entry, "runs": sorted(runs & set(entry["runs"]))} for entry in record.get("about", {}).get("kept", [])]
    rest = runs - {name for entry in earlier for name in entry["runs"]}
    itself = {"record": record["id"], "created": record["created"], "commit": record["code"]["commit"], "runs": sorted(rest)}
    return [entry for entry in (*earlier, itself) if entry["runs"]]
