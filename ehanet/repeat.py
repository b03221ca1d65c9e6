"""A recorded training once more, with the code, libraries and machine at hand: ``make repeat RUN=decoders/kvasir-seg/ehanet/seed0 SOURCE=folder``.

Data, split and weights files must be those of the record, or nothing is trained; precision and, on a CPU, the number of threads are taken from it. What
comes out lies in the report of the profile, below repeated/<id of the record>/, in the report's own layout, in place of an earlier repetition;
``ehanet.reporting.repeated`` lays it beside what was recorded.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import torch

from ehanet.config import RunConfig
from ehanet.data import load_dataset
from ehanet.data.splits import content_and_split
from ehanet.devices import compute_dtype, describe_device, find_device
from ehanet.evaluation import evaluate_runs
from ehanet.fingerprint import digest, modules_sha256
from ehanet.plugins import plugin_hashes
from ehanet.records import id_of, keep_record, read_record
from ehanet.training import fit
from ehanet.transfer import check_same_weights


def find_recorded(run: str | Path, reports: str | Path = "reports") -> Path:
    """The folder of a run in a report, <reports>/<profile>/runs/<data set>/<label>/seed<k>.

    Args:
        run: that folder; <profile>/<data set>/<label>/seed<k>; or the id of its record (16 hex digits). reports: the folder of all reports.

    Raises:
        FileNotFoundError: no such run; the message says what is there. ValueError: an id that two reports share.
    """
    reports, parts = Path(reports), Path(run).parts
    if re.fullmatch("[0-9a-f]{16}", str(run)):
        places = [path.parent for path in sorted(reports.glob("*/runs/*/*/seed*/record.json")) if id_of(path) == str(run)]
        if len(places) > 1:
            raise ValueError(f"RUN: {run} is in several reports; give one of {', '.join(map(run_name, places))}")
    else:
        named = [reports / parts[0] / "runs" / Path(*parts[1:])] if len(parts) == 4 else []
        places = [place for place in (*named, Path(run).absolute()) if (place / "record.json").is_file() and _in_a_report(place)]
    if places:
        return places[0]
    profiles = [parts[0]] if parts and (reports / parts[0] / "runs").is_dir() else sorted(path.parent.name for path in reports.glob("*/runs"))
    known = [run_name(path.parent) for profile in profiles for path in sorted(reports.glob(f"{profile}/runs/*/*/seed*/record.json"))]
    raise FileNotFoundError(f"RUN: no recorded run {str(run)!r} in {reports}; give <profile>/<data set>/<label>/seed<k>, "
                            f"one of {', '.join(known[:8]) or 'none'}{f' and {len(known) - 8} more' if known[8:] else ''}")


def _in_a_report(folder: Path) -> bool:
    """Whether a run's folder is one of a report, neither of ``runs`` nor of a repetition."""
    above = folder.parents
    return above[2].name == "runs" and (above[3] / "scores").is_dir() and above[4].name != "repeated"


def run_name(folder: Path) -> str:
    """<profile>/<data set>/<label>/seed<k> of a run's folder in a report."""
    return "/".join((folder.parents[3].name, *folder.parts[-3:]))


def repeat_run(folder: Path, root: str | Path | None = None, runs: str | Path = "runs", progress: bool = True) -> dict:
    """Train the run of ``folder`` (see :func:`find_recorded`) again, score it and return its record.

    Interrupted, it goes on at the next epoch; finished, it trains again only with other code, another device or another version of torch.

    Args:
        root: folder of the data set's archives or unpacked folders. runs: where checkpoints go, below repeated/. progress: show a bar.

    Raises:
        FileNotFoundError: archives, a weights file, or the record's scores are missing.
        ValueError: a damaged record, or data, a split or a weights file other than those recorded; the message names it.
        OSError: the disk is full or cannot be written.
    """
    record = read_record(folder / "record.json")
    config = RunConfig.from_dict(record["config"])
    try:
        device = find_device(config.device)
    except ValueError:  # recorded on one that is not here, which decides no result
        config = replace(config, device="auto")
        device = find_device(config.device)
    if str(compute_dtype(config.precision, device)).removeprefix("torch.") != record["precision"]:  # what "auto" chooses here is another one than there
        config = replace(config, precision=record["precision"])
    scored = recorded_scores(folder, record["id"])
    check_same_weights(config, record, run_name(folder))
    data = load_dataset(config.dataset, root=root, size=config.size)
    _check_data(data.manifest, record, folder)
    if record["device"].get("type") == "cpu" == device.type:
        torch.set_num_threads(record["device"]["threads"])
    place = Path(runs, "repeated", f"{record['id']}-{_conditions(config, device)}")
    run_dir = place / folder.parts[-3] / config.label / f"seed{config.seed}"
    again = fit(config, run_dir, root=root, progress=progress)
    (run_dir / "last.pt").unlink(missing_ok=True)  # only of use to an unfinished run
    out = folder.parents[3] / "repeated" / record["id"]
    for name in scored:
        part = data if name == data.name else load_dataset(name, root=root, size=config.size)
        evaluate_runs(part, run_dir.parents[1], out, [{"method": config.method, "label": config.label, "seed": config.seed}])
    keep_record(run_dir, out / "runs" / Path(*folder.parts[-3:]))
    return again


def recorded_scores(folder: Path, run: str) -> dict[str, Path]:
    """Data set -> CSV of the recorded test scores of the run with this id; several data sets where it learned from a union of them.

    Raises:
        FileNotFoundError: the report has no scores of that run. ValueError: a damaged record.
    """
    label, seed = folder.parts[-2:]
    found = {path.parent.name: path.with_suffix(".csv") for path in sorted((folder.parents[3] / "scores").glob(f"*/{label}__{seed}.json"))
             if read_record(path)["inputs"] == [run]}
    if not found:
        raise FileNotFoundError(f"{folder.parents[3]}/scores has no scores of {run_name(folder)} to compare with; "
                                "take the folder from the repository again, or end its make paper first")
    return found


def _conditions(config: RunConfig, device: torch.device) -> str:
    """Eight hex digits of what may change between two repetitions: code, device and version of torch."""
    plugin = plugin_hashes(config.plugin) if config.plugin else None
    return digest([modules_sha256(["ehanet.training"]), plugin, torch.__version__, describe_device(device)])[:8]


def _check_data(manifest: dict, record: dict, folder: Path) -> None:
    if content_and_split(manifest) != content_and_split(record["data"]):
        wanted = ", ".join(f"{source['file']} (SHA-256 {source['sha256'][:12]})" for source in record["data"]["sources"]) or "the phantoms of its version"
        raise ValueError(f"{run_name(folder)} was trained on other images or another split of {manifest['name']} than are here; "
                         f"it had {wanted}, split by {record['data']['split'].get('source', 'the rules of its parts')}")
