"""Trainings made twice: what a record says beside what its repetition gave (``ehanet.repeat``), from result files."""

from __future__ import annotations

from pathlib import Path

from ehanet.metrics.scores import read_scores
from ehanet.metrics.statistics import paired_differences
from ehanet.records import read_beside
from ehanet.reporting.artefacts import discard
from ehanet.reporting.repeated_differences import SCORES, repeated_differences
from ehanet.reporting.results import mark_of_manifest, read_repetitions
from ehanet.reporting.style import look
from ehanet.reporting.tables import Column, Score, Table, write_table
from ehanet.reporting.wording import dataset_title, machine

MODULES = ["ehanet.reporting.repeated"]


def repeated_report(reports: str | Path) -> Table | None:
    """Write tables/repeated from ``reports``/repeated/ and return it; None, and no table, where no run that the report has was repeated.

    Where several methods were repeated, their differences are laid beside each other too (``ehanet.reporting.repeated_differences``).

    Raises:
        ValueError: a record or a table of scores is damaged or altered.
    """
    reports = Path(reports)
    repetitions = read_repetitions(reports)
    repeated_differences(reports, repetitions)
    rows, inputs = [], []
    for pair in repetitions:
        made = [read_beside(scores) for scores in (pair.before, pair.after)]
        others = [other for other in sorted(pair.before.parent.glob(f"{pair.record['config']['label']}__seed*.csv")) if other != pair.before]
        inputs += [*(one["id"] for one in made), *(read_beside(other)["id"] for other in others)]
        cells = {"run": pair.record["id"], "dataset": dataset_title(pair.dataset), "made_from": " ".join(one["id"] for one in made), "mark": mark_of_manifest(made[1]["data"])}
        rows.append({**cells, **_row(pair.record, pair.again), **_scores(pair.before, pair.after, others)})
    if not rows:
        discard(reports / "tables" / "repeated")
        return None
    columns = [Column("title", "Run"), Column("dataset", "Data set"), Column("seed", "Seed", "count"), Column("before", "Recorded on"), Column("after", "Repeated on"),
               Column("code", "Code of the training"), Column("weights", "Weights"), Column("val_before", "Validation Dice, recorded", "score"),
               Column("val_after", "repeated", "score")]
    for score, title in SCORES.items():
        columns += [Column(f"{score}_before", f"Test {title}, recorded", "score"), Column(f"{score}_after", "repeated", "score"), Column(f"{score}_change", "Δ", "score")]
    columns += [Column("others", "Test mDice of the other seeds", "value"), Column("mark", "Mark"), Column("run", "Record", shown=False), Column("made_from", "Scores", shown=False)]
    notes = ["Each run was trained again from its record: the same configuration, seed, precision, images, split and weights files, checked by hash; then its test split was predicted and scored once.",
             "Δ: repeated minus recorded, with the 95 % bootstrap interval over images, or patients where several images belong to one. Another device, version of torch or of the code rounds "
             "differently, and training amplifies that: the repetition is then another draw, as from another seed. How far such draws lie apart the other seeds of the row tell."]
    notes += _means(rows)
    table = Table("repeated", "Trainings repeated from their records", " / ".join(dict.fromkeys(row["mark"] for row in rows)), columns, rows, notes)
    write_table(table, reports / "tables", MODULES, inputs=list(dict.fromkeys(inputs)))
    return table


def _means(rows: list[dict]) -> list[str]:
    """A sentence for each row of the comparison of which several trainings were repeated."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault((row["title"], row["dataset"]), []).append(row)
    said = []
    for (title, dataset), some in groups.items():
        if len(some) > 1:
            before, after = (sum(row[f"dice_{name}"].mean for row in some) / len(some) for name in ("before", "after"))
            said.append(f"{title} on {dataset}, mean of seeds {', '.join(str(row['seed']) for row in some)}: test mDice {before:.3f} recorded, {after:.3f} repeated.")
    return said


def _row(before: dict, after: dict) -> dict:
    config = before["config"]
    same = (before["code"]["modules"], before.get("plugin_sha256")) == (after["code"]["modules"], after.get("plugin_sha256"))
    return {"title": look(config["label"], config["method"]).title, "seed": before["seed"], "before": machine(before), "after": machine(after), "weights": _weights(before, after),
            "code": "the same" if same else "changed since", **{f"val_{name}": Score(record["best"]["val_dice"]) for name, record in (("before", before), ("after", after))}}


def _weights(before: dict, after: dict) -> str:
    """Whether both trainings ended with the same weights, bit for bit."""
    one, other = (record.get("checkpoint_sha256") for record in (before, after))
    return "not recorded" if None in (one, other) else "the same bits" if one == other else "others"


def _scores(before: Path, after: Path, others: list[Path]) -> dict:
    frames = {"before": read_scores(before), "after": read_scores(after)}
    cells: dict = {"others": ", ".join(f"{read_scores(path)['dice'].mean():.3f}" for path in others) or "none"}
    for score in SCORES:
        cells |= {f"{score}_{name}": Score(float(frame[score].mean())) for name, frame in frames.items()}
        cells[f"{score}_change"] = Score(*map(float, paired_differences(frames, score, "before").loc["after"]))
    return cells
