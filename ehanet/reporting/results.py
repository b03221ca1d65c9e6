"""Read what a report is made from: the scores and records of one data set, and the published numbers."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ehanet.config import RunConfig
from ehanet.files import file_sha256
from ehanet.metrics.scores import SCORES, read_scores
from ehanet.records import read_beside, read_record, table_parts
from ehanet.reporting.style import look

PHANTOM, REPRODUCED, PUBLISHED, ABSENT = "phantom data", "reproduced here", "published", "not available"
RANDOM, TRAINED = "random weights", "trained encoder"  # the two tracks: how a network began
PAPER_SETS = ("kvasir-seg", "dsb2018", "isic2018", "lgg")  # the data sets of the paper


@dataclass(frozen=True)
class Result:
    """One row of the tables: a method's scores on a data set, one frame and one record a seed.

    ``frames`` and ``records`` are empty where the row has no numbers; ``reason`` then says why.
    """

    method: str
    label: str
    seeds: list[int]
    frames: list[pd.DataFrame]
    records: list[dict]
    reason: str = ""

    @property
    def title(self) -> str:
        """The method's name as people write it."""
        return look(self.label, self.method).title

    @property
    def missed(self) -> int:
        """Rows of all frames where the label has an object and the prediction is empty."""
        return sum(int((frame["pred_empty"] & ~frame["gt_empty"]).sum()) for frame in self.frames)

    @property
    def spurious(self) -> int:
        """Rows of all frames where the prediction has an object and the label is empty."""
        return sum(int((frame["gt_empty"] & ~frame["pred_empty"]).sum()) for frame in self.frames)

    @property
    def empty_cells(self) -> dict:
        """The cells of a row without numbers: its names, and why, in place of a mark."""
        reason = self.reason or "no result"
        return {"title": self.title, "label": self.label, "method": self.method, "mark": reason if reason.startswith(ABSENT) else f"{ABSENT}: {reason}"}

    @property
    def note(self) -> str:
        """What deviates from the method's paper; empty where nothing is known to."""
        return self.records[0].get("note", "") if self.records else ""

    @property
    def config(self) -> dict:
        """The configuration of the first seed's run; settings that an older record does not know have their defaults."""
        return RunConfig.from_dict(self.records[0]["config"]).to_dict()

    @property
    def precision(self) -> str:
        """What the trainings computed in, as in "bfloat16" or, where seeds differ, "bfloat16 / float32"; where older records do not say, what was asked for."""
        return " / ".join(sorted({record.get("precision", record["config"].get("precision", "auto")) for record in self.records}))

    @property
    def encoder(self) -> str:
        """How the encoder began and whether it was trained, as in "ImageNet, fine-tuned"; the same for all seeds."""
        return " / ".join(dict.fromkeys(str(record.get("encoder", "not recorded")) for record in self.records))

    @property
    def began(self) -> str | None:
        """RANDOM where all weights began random, TRAINED where the encoder's did not; None without an encoder, or where nothing is recorded."""
        return beginning(self.encoder)


def beginning(encoder: str) -> str | None:
    """The track of a run by what its record says of the encoder; see :attr:`Result.began`."""
    if encoder in ("none", "not recorded"):
        return None
    return RANDOM if encoder.startswith("random") else TRAINED


# Compared in the paper, and kept in every table although nobody outside can build it.
NEVER_FOUND = Result("lw-mhfi-net", "lw-mhfi-net", [], [], [], "no public code or description found")


def read_corrupted(file: str | Path) -> tuple[pd.DataFrame, dict]:
    """Dice of single images under corruption or of another data set, as ``ehanet.robustness`` writes them, and the record beside it; each image is a
    group of its own where the file has no groups.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file was altered after it was written.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"{file} not found; run the robustness step again")
    record = read_beside(file)
    scores = pd.concat([pd.read_csv(part, dtype={"label": str, "image": str, "group": str}, keep_default_na=False, na_values={name: [""] for name in SCORES})
                        for part in table_parts(file, record)], ignore_index=True)
    return (scores if "group" in scores else scores.assign(group=scores["image"])), record


def corrupted_frames(scores: pd.DataFrame) -> dict[str, list[pd.DataFrame]]:
    """Label -> for each seed the mean Dice of each image over its corruptions, as a score table, from what :func:`read_corrupted` returns."""
    means = scores[scores["severity"] > 0].groupby(["label", "seed", "image", "group"], as_index=False)["dice"].mean()
    return {label: [one.reset_index(drop=True) for _, one in part.groupby("seed")] for label, part in means.groupby("label")}


def read_results(reports: str | Path, dataset: str) -> list[Result]:
    """The rows of a data set in the order of methods.json, read from ``reports``/scores/<dataset>/; last, the method that nobody found.

    Raises:
        FileNotFoundError: no scores, or a CSV or record that methods.json names is missing.
        ValueError: methods.json, a CSV or a record is damaged, or the runs were scored on different images.
    """
    folder = Path(reports) / "scores" / dataset
    index, beside = folder / "methods.json", folder / "score_choice.json"
    if not index.is_file():
        raise FileNotFoundError(f"{index} not found; run the evaluation step of {dataset} first")
    if beside.is_file() and read_record(beside).get("methods_sha256") not in (None, file_sha256(index)):
        raise ValueError(f"{index} was altered after it was written; run the evaluation step of {dataset} again")
    try:
        rows = [Result(row["method"], row["label"], list(row["seeds"]), *_read_seeds(folder, row), row["reason"]) for row in json.loads(index.read_text())]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{index} is damaged ({type(error).__name__}); run the evaluation step again") from error
    scored = [row for row in rows if row.frames]
    if not scored:
        raise ValueError(f"{folder} holds no scored run; run the evaluation step of {dataset} again")
    first = scored[0].frames[0]["image"].tolist()
    for row in scored:
        for seed, frame in zip(row.seeds, row.frames):
            if frame["image"].tolist() != first:
                raise ValueError(f"{folder / f'{row.label}__seed{seed}.csv'} holds other images than {scored[0].label}; run the evaluation step again")
    return [*rows, NEVER_FOUND]


def read_together(reports: str | Path, dataset: str, name: str, columns: list[str]) -> pd.DataFrame:
    """scores/<dataset>/<name>, the scores of all runs in one CSV, held against its record; reports from before 2026-12 have none.

    Args:
        columns: those that it must have.

    Raises:
        FileNotFoundError: no such file. ValueError: it is damaged, or was altered after it was written.
    """
    path = Path(reports) / "scores" / dataset / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found; run the evaluation step of {dataset} again")
    if path.with_suffix(".json").is_file():
        read_beside(path)
    try:
        found = pd.read_csv(path, dtype={"label": str, "group": str}, keep_default_na=False, na_values={score: [""] for score in SCORES})
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no CSV of scores ({type(error).__name__}); run the evaluation step of {dataset} again") from error
    if missing := [column for column in columns if column not in found]:
        raise ValueError(f"{path} lacks the column {missing[0]}; run the evaluation step of {dataset} again")
    return found


def _read_seeds(folder: Path, row: dict) -> tuple[list[pd.DataFrame], list[dict]]:
    frames, records = [], []
    for seed in row["seeds"]:
        path = folder / f"{row['label']}__seed{seed}.csv"
        if not path.is_file():
            raise FileNotFoundError(f"{path} not found; run the evaluation step again")
        try:
            frames.append(read_scores(path).astype({"gt_empty": bool, "pred_empty": bool}))
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is no CSV of scores ({type(error).__name__}); run the evaluation step again") from error
        records.append(read_beside(path))
    return frames, records


class Repetition(NamedTuple):
    """A training and its repetition: their records and their scores (CSV) on one data set."""

    dataset: str
    record: dict
    again: dict
    before: Path
    after: Path


def read_repetitions(reports: str | Path) -> list[Repetition]:
    """Every run of the report that was repeated, in the order of their folders.

    Scores that were not made from the record beside them, as a repetition leaves that was killed, are left out.

    Raises:
        ValueError: a record or a table of scores is damaged or altered.
    """
    reports, found = Path(reports), []
    for path in sorted(reports.glob("runs/*/*/seed*/record.json")):
        record, name = read_record(path), f"{path.parent.parent.name}__{path.parent.name}"
        place = reports / "repeated" / record["id"]
        kept = place / "runs" / Path(*path.parts[-4:])
        again = read_record(kept) if kept.is_file() else None
        for after in sorted(place.glob(f"scores/*/{name}.csv")) if again else ():
            before = reports / "scores" / after.parent.name / after.name
            if [read_beside(scores)["inputs"] for scores in (before, after)] == [[record["id"]], [again["id"]]]:
                found.append(Repetition(after.parent.name, record, again, before, after))
    return found


def find_ehanets(rows: list[Result]) -> list[Result]:
    """The scored rows of the unchanged EHANet, first those whose encoder began trained, as the paper's did, and of these first the one named so."""
    unchanged = [row for row in rows if row.frames and row.method == "ehanet" and not row.config.get("options") and not row.config.get("loss_options")]
    return sorted(unchanged, key=lambda row: (row.began != TRAINED, row.label != "ehanet"))


def without_part(whole: Result, rows: list[Result], part: str) -> Result | None:
    """The row that differs from ``whole`` in nothing but that it lacks a part of the network ("efa", "iem", "ahfa"), if it was run."""
    def settings(row: Result) -> dict:
        return {key: value for key, value in row.config.items() if key not in ("label", "seed", "device")}

    wanted = settings(whole) | {"options": {**whole.config["options"], part: False}}
    return next((row for row in rows if row is not whole and settings(row) == wanted), None)


def find_reference(rows: list[Result], fits: Callable[[Result], object] = bool) -> Result:
    """The row that the others are compared with: the first unchanged EHANet that ``fits``, else the first, else a variant, else the first row with scores."""
    scored, ehanets = [row for row in rows if row.frames], find_ehanets(rows)
    return next(iter([row for row in ehanets if fits(row)] + ehanets + [row for row in scored if row.method == "ehanet"] + scored))


def mark_of(rows: list[Result]) -> str:
    """The provenance mark of what these rows show."""
    data = next(row.records[0].get("data", {}) for row in rows if row.records)
    return mark_of_manifest(data)


def mark_of_manifest(manifest: dict) -> str:
    """"phantom data" where the images are drawn by code, else "reproduced here"; a union with both says both."""
    if parts := manifest.get("parts"):
        return " and ".join(dict.fromkeys(mark_of_manifest({"name": part}) for part in parts))
    modality = manifest.get("modality")  # a folder of one's own may be named phantom-something; a part of a union has its name alone
    phantom = modality == "phantom" if modality else str(manifest.get("name", "")).startswith("phantom-")
    return PHANTOM if phantom else REPRODUCED


def published(dataset: str) -> list[dict]:
    """Numbers of other publications on ``dataset``: method, setting, mdice, miou, other, source (strings as printed there)."""
    with resources.files("ehanet.reporting").joinpath("published.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["dataset"] == dataset]
