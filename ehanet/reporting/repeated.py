"""Trainings made twice: what a record says beside what its repetition gave (``ehanet.repeat``), from result files."""

from __future__ import annotations

from pathlib import Path

from ehanet.metrics.scores import read_scores
from ehanet.metrics.statistics import paired_differences
from ehanet.records import read_beside, read_record
from ehanet.reporting.results import mark_of_manifest
from ehanet.reporting.style import look
from ehanet.reporting.tables import Column, Score, Table, write_table
from ehanet.reporting.wording import dataset_title

MODULES = ["ehanet.reporting.repeated"]
SHOWN = {"dice": "mDice", "boundary_f1": "Boundary F1"}


def repeated_report(reports: str | Path) -> Table:
    """Write tables/repeated from ``reports``/repeated/ and return it; a repetition of a run that the report no longer has is left out.

    Raises:
        FileNotFoundError: nothing was repeated. ValueError: a record or a table of scores is damaged or altered.
    """
    reports = Path(reports)
    originals = {(record := read_record(path))["id"]: (path.parent, record) for path in sorted(reports.glob("runs/*/*/seed*/record.json"))}
    rows, inputs, marks = [], [], []
    for id, (folder, record) in originals.items():
        again = reports / "repeated" / id / "runs" / Path(*folder.parts[-3:]) / "record.json"
        for scores in sorted((reports / "repeated" / id).glob(f"scores/*/{folder.parent.name}__{folder.name}.csv")) if again.is_file() else ():
            before = reports / "scores" / scores.parent.name / scores.name
            inputs += [read_beside(path)["id"] for path in (before, scores)]
            marks.append(mark_of_manifest(read_beside(scores)["data"]))
            rows.append({**_row(record, read_record(again), scores.parent.name), **_scores(before, scores), "mark": marks[-1]})
    if not rows:
        raise FileNotFoundError(f"{reports}/repeated holds no repetition of this report's runs; make repeat RUN=<profile>/<data set>/<label>/seed<k> makes one")
    columns = [Column("title", "Run"), Column("dataset", "Data set"), Column("seed", "Seed", "count"), Column("before", "Recorded on"), Column("after", "Repeated on"),
               Column("code", "Code of the training"), Column("weights", "Weights"), Column("val_before", "Validation Dice, recorded", "score"),
               Column("val_after", "repeated", "score")]
    for score, title in SHOWN.items():
        columns += [Column(f"{score}_before", f"Test {title}, recorded", "score"), Column(f"{score}_after", "repeated", "score"), Column(f"{score}_change", "Δ", "score")]
    columns += [Column("others", "Test mDice of the row's other seeds", "value"), Column("label", "Label", shown=False), Column("mark", "Mark")]
    notes = ["Each run was trained again from its record: same configuration, seed, images, split and weights files, checked by hash; then its test split was predicted and scored once.",
             "Δ: repeated minus recorded, with the 95 % bootstrap interval over images. Another device, number of threads, version of torch or of the code rounds differently, "
             "and training amplifies that: the repetition is then another draw, as from another seed. How far such draws lie apart the other seeds of the row tell."]
    table = Table("repeated", "Trainings repeated from their records", " and ".join(dict.fromkeys(marks)), columns, rows, notes)
    write_table(table, reports / "tables", MODULES, inputs=inputs)
    return table


def machine(record: dict) -> str:
    """As in "AMD EPYC, 1 thread, float32, torch 2.15.0"."""
    device, threads = record["device"], record["device"].get("threads")
    cores = f", {threads} thread{'s' if threads != 1 else ''}" if device["type"] == "cpu" else ""
    return f"{device['name']}{cores}, {record['precision']}, torch {record['libraries']['torch']}"


def _row(before: dict, after: dict, dataset: str) -> dict:
    config = before["config"]
    return {"title": look(config["label"], config["method"]).title, "dataset": dataset_title(dataset), "seed": before["seed"], "label": config["label"],
            "before": machine(before), "after": machine(after), "weights": _weights(before, after),
            "code": "the same" if before["code"]["modules"] == after["code"]["modules"] else "changed since",
            **{f"val_{name}": Score(record["best"]["val_dice"]) for name, record in (("before", before), ("after", after))}}


def _weights(before: dict, after: dict) -> str:
    """Whether both trainings ended with the same weights, bit for bit."""
    one, other = (record.get("checkpoint_sha256") for record in (before, after))
    return "not recorded" if None in (one, other) else "the same bits" if one == other else "others"


def _scores(before: Path, after: Path) -> dict:
    frames = {"before": read_scores(before), "after": read_scores(after)}
    cells: dict = {}
    for score in SHOWN:
        cells |= {f"{score}_{name}": Score(float(frame[score].mean())) for name, frame in frames.items()}
        cells[f"{score}_change"] = Score(*map(float, paired_differences(frames, score, "before").loc["after"]))
    label = before.stem.rpartition("__seed")[0]
    others = [float(read_scores(path)["dice"].mean()) for path in sorted(before.parent.glob(f"{label}__seed*.csv")) if path != before]
    return {**cells, "others": ", ".join(f"{value:.3f}" for value in others) or "none"}
