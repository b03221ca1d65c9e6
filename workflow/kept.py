"""The finished runs that a report holds, which ``make paper KEEP=1`` does not train again, whatever code made them."""

from __future__ import annotations

from pathlib import Path

from ehanet.config import WEIGHT_FILES, RunConfig, find_weights
from ehanet.data.sources import describe
from ehanet.predictions import are_kept, predictions_path
from ehanet.profiles import Profile, dataset_key
from ehanet.records import read_record


def kept_id(reports: str, dataset: str, run: RunConfig) -> str | None:
    """Id of the record of a finished run of these settings that the report holds with all its predictions; None where it does not."""
    return (_kept_record(reports, dataset, run) or {}).get("id")


def check_kept_weights(profile: Profile, reports: str, new: list[RunConfig]) -> None:
    """Whether the runs to train would begin with, or learn from, the same weights files as the kept ones of the same settings did.

    Raises:
        ValueError: a file of that name was another one then; their rows would not compare.
    """
    wanted = {(setting, file): find_weights(file, profile.weights) for run in new for setting in WEIGHT_FILES if (file := getattr(run, setting))}
    for run in profile.runs if wanted else ():
        record = _kept_record(reports, dataset_key(run.dataset), run) or {}
        for setting in WEIGHT_FILES:
            path, before = wanted.get((setting, getattr(run, setting))), record.get(f"{setting}_sha256")
            if path and before and before != (now := describe(path, None)["sha256"]):
                raise ValueError(f"{path}: the kept runs had another file of this name (SHA-256 {before[:8]} in {_place(reports, dataset_key(run.dataset), run)}, {now[:8]} now), so new ones would not "
                                 "compare with them. Put that file in its place, or train all runs anew without KEEP=1")


def recorded(reports: str, dataset: str, run: RunConfig) -> dict | None:
    """The report's record of a run of these settings, whatever code made it; None where it has none."""
    try:
        record = read_record(_place(reports, dataset, run))
        return None if run.differences(RunConfig.from_dict(record["config"])) else record
    except (OSError, ValueError, KeyError):
        return None


def _kept_record(reports: str, dataset: str, run: RunConfig) -> dict | None:
    """The record of a kept run, else None."""
    record = recorded(reports, dataset, run)
    return record if record and are_kept(predictions_path(reports, dataset, run.label, run.seed), record["id"]) else None


def _place(reports: str, dataset: str, run: RunConfig) -> Path:
    return Path(reports, "runs", dataset, run.label, f"seed{run.seed}", "record.json")
