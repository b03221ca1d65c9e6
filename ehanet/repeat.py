"""A recorded training once more, with the code, libraries and machine at hand: ``make repeat RUN=decoders/kvasir-seg/ehanet/seed0 SOURCE=folder``.

Data, split and weights files must be those of the record, or nothing is trained. What comes out lies in the report of the profile, below repeated/<id of
the record>/, in the report's own layout; ``ehanet.reporting.repeated`` lays it beside what was recorded.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from ehanet.config import WEIGHT_FILES, RunConfig, find_weights
from ehanet.data import load_dataset
from ehanet.data.sources import describe
from ehanet.data.splits import content_and_split
from ehanet.evaluation import evaluate_runs
from ehanet.fingerprint import modules_sha256
from ehanet.records import read_record
from ehanet.training import fit


def find_recorded(run: str | Path, reports: str | Path = "reports") -> Path:
    """The folder of a run in a report, <reports>/<profile>/runs/<data set>/<label>/seed<k>.

    Args:
        run: that folder; <profile>/<data set>/<label>/seed<k>; or the id of its record (16 hex digits). reports: the folder of all reports.

    Raises:
        FileNotFoundError: no such run; the message says what is there.
    """
    reports, parts = Path(reports), Path(run).parts
    places = [Path(run), *([reports / parts[0] / "runs" / Path(*parts[1:])] if len(parts) == 4 else [])]
    if re.fullmatch("[0-9a-f]{16}", str(run)):
        places += [path.parent for path in reports.glob("*/runs/*/*/seed*/record.json") if f'"{run}"' in path.read_text()]
    for place in places:
        if (place / "record.json").is_file():
            return place
    near = reports.glob(f"{parts[0] if parts else '*'}/runs/*/*/seed*/record.json")
    known = sorted(run_name(path.parent) for path in near) or sorted(path.parent.name for path in reports.glob("*/runs"))
    raise FileNotFoundError(f"RUN: no recorded run {str(run)!r} in {reports}; give <profile>/<data set>/<label>/seed<k>, "
                            f"for instance with {', '.join(known[:12])}{' ...' if known[12:] else ''}")


def run_name(folder: Path) -> str:
    """<profile>/<data set>/<label>/seed<k> of a run's folder in a report."""
    return "/".join((folder.parents[3].name, *folder.parts[-3:]))


def repeat_run(folder: Path, root: str | Path | None = None, runs: str | Path = "runs", progress: bool = True) -> Path:
    """Train the run of ``folder`` (see :func:`find_recorded`) again and score it; returns the folder with what came out.

    Interrupted, it goes on at the next epoch; finished, it returns at once, until the code of the training changes.

    Args:
        root: folder of the data set's archives or unpacked folders. runs: where checkpoints go, below repeated/. progress: show a bar.

    Raises:
        FileNotFoundError: archives, a weights file, or the record's scores are missing.
        ValueError: a damaged record, or data, a split or a weights file other than those recorded; the message names it.
        OSError: the disk is full or cannot be written.
    """
    record = read_record(folder / "record.json")
    report, config = folder.parents[3], RunConfig.from_dict(record["config"])
    scored = recorded_scores(folder, record["id"])
    _check_weights(config, record)
    data = load_dataset(config.dataset, root=root, size=config.size)
    _check_data(data.manifest, record, folder)
    place = Path(runs, "repeated", f"{record['id']}-{modules_sha256(['ehanet.training'])[:8]}")
    run_dir = place / config.label / f"seed{config.seed}"
    fit(config, run_dir, root=root, progress=progress)
    out = report / "repeated" / record["id"]
    kept = out / "runs" / Path(*folder.parts[-3:])
    kept.mkdir(parents=True, exist_ok=True)
    for name in ("history.csv", "record.json"):
        shutil.copyfile(run_dir / name, kept / name)
    for name in scored:
        part = data if name == data.name else load_dataset(name, root=root, size=config.size)
        evaluate_runs(part, place, out, [{"method": config.method, "label": config.label, "seed": config.seed}])
    return out


def recorded_scores(folder: Path, run: str) -> dict[str, Path]:
    """Data set -> CSV of the recorded test scores of the run with this id; several data sets where it learned from a union of them.

    Raises:
        FileNotFoundError: the report has no scores of that run.
    """
    label, seed = folder.parts[-2:]
    found = {path.parent.name: path.with_suffix(".csv") for path in sorted((folder.parents[3] / "scores").glob(f"*/{label}__{seed}.json"))
             if json.loads(path.read_text()).get("inputs") == [run]}
    if not found:
        raise FileNotFoundError(f"{folder.parents[3]}/scores has no scores of {run_name(folder)} to compare with; take the report from the repository again")
    return found


def _check_weights(config: RunConfig, record: dict) -> None:
    for setting in WEIGHT_FILES:
        before = record.get(f"{setting}_sha256")
        if (file := getattr(config, setting)) and before and (now := describe(path := find_weights(file), None)["sha256"]) != before:
            raise ValueError(f"{path}: the recorded run had another file of this name (SHA-256 {before[:8]}, {now[:8]} now); put that one in its place "
                             "(reports/README.md says where it is)")


def _check_data(manifest: dict, record: dict, folder: Path) -> None:
    if content_and_split(manifest) != content_and_split(record["data"]):
        wanted = ", ".join(f"{source['file']} (SHA-256 {source['sha256'][:12]})" for source in record["data"]["sources"]) or "the phantoms of its version"
        raise ValueError(f"{run_name(folder)} was trained on other images or another split of {manifest['name']} than are here; "
                         f"it had {wanted}, split by {record['data']['split'].get('source', 'its parts')}")
