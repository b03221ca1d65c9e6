"""Whether the differences between methods hold when their trainings are repeated (``ehanet.repeat``): recorded and repeated side by side."""

from __future__ import annotations

from pathlib import Path

from ehanet.metrics.scores import read_scores
from ehanet.metrics.statistics import compare, paired_differences
from ehanet.records import read_beside
from ehanet.reporting.artefacts import make_record
from ehanet.reporting.forest import Change, draw_forest
from ehanet.reporting.results import Repetition, Result, find_reference, mark_of
from ehanet.reporting.style import figure_style, save_figure
from ehanet.reporting.tables import Column, Score, Table, write_table
from ehanet.reporting.wording import caption, dataset_title, group_word, machine, p_in_words

MODULES = ["ehanet.reporting.repeated_differences"]
SCORES = {"dice": "mDice", "boundary_f1": "Boundary F1"}
TIMES = ("recorded", "repeated")


def repeated_differences(reports: str | Path, repetitions: list[Repetition]) -> dict[str, Table]:
    """Write tables/repeated_differences_<data set> and figures/repeated_<data set>, and return the tables by name.

    For every data set on which the reference, EHANet where it was repeated, and other methods were repeated with the same seeds.
    Tables and figures of other data sets are removed.
    """
    reports, tables = Path(reports), {}
    for dataset in dict.fromkeys(one.dataset for one in repetitions):
        own = [one for one in repetitions if one.dataset == dataset]
        pairs = _results(own)
        reference = find_reference([recorded for recorded, _ in pairs])
        pairs = [pair for pair in pairs if pair[0].seeds == reference.seeds]
        if len(pairs) > 1:
            labels = {row.label for row, _ in pairs}
            records = zip(*((one.record, one.again) for one in own if one.record["config"]["label"] in labels))
            table = _write(reports, dataset, dict(zip(TIMES, zip(*pairs))), reference, [" / ".join(dict.fromkeys(map(machine, some))) for some in records])
            tables[table.name] = table
    kept = {*tables, *(name.replace("repeated_differences_", "repeated_", 1) for name in tables)}
    for left in [*reports.glob("tables/repeated_differences_*"), *reports.glob("figures/repeated_*")]:
        if left.stem not in kept:
            left.unlink()
    return tables


def _results(repetitions: list[Repetition]) -> list[tuple[Result, Result]]:
    """Each row of the comparison as it was recorded and as it was repeated, with the seeds that were repeated."""
    found = []
    for label in dict.fromkeys(one.record["config"]["label"] for one in repetitions):
        own = [one for one in repetitions if one.record["config"]["label"] == label]
        seeds = [one.record["seed"] for one in own]
        files = ([one.before for one in own], [one.after for one in own])
        found.append(tuple(Result(own[0].record["config"]["method"], label, seeds, [read_scores(file) for file in some], [read_beside(file) for file in some]) for some in files))
    return found


def _write(reports: Path, dataset: str, rows: dict[str, tuple[Result, ...]], reference: Result, machines: list[str]) -> Table:
    frames = {time: {row.label: row.frames for row in some} for time, some in rows.items()}
    columns = [Column("title", "Method"), Column("label", "Label", shown=False)]
    body = [{"title": row.title, "label": row.label, "mark": mark_of([row])} for row in rows["repeated"]]
    for score, name in SCORES.items():
        columns += [Column(f"{score}_recorded", f"{name}, recorded", "score"), Column(f"{score}_repeated", "repeated", "score")]
        for time in TIMES:
            columns += [Column(f"{score}_difference_{time}", f"Δ {time}", "score"), Column(f"{score}_p_{time}", "p (Holm)", "value")]
            found = compare(frames[time], score, reference.label).set_index("method")
            intervals = {label: Score(*values) for label, *values in paired_differences(frames[time], score, reference.label).itertuples()}
            for cells in body:
                label, one = cells["label"], found.loc[cells["label"]]
                cells |= {f"{score}_{time}": Score(float(one["mean"])), f"{score}_difference_{time}": intervals.get(label), f"{score}_p_{time}": p_in_words(one["p_holm"])}
    columns.append(Column("mark", "Mark"))
    unit = group_word(list(rows["recorded"]))
    notes = [f"Δ: mean of the row minus {reference.title}, image by image over the same seeds, with the 95 % bootstrap interval over {unit}; p: paired permutation test, corrected by Holm over the rows.",
             "A difference that is clear in both columns and of the same sign holds on both machines; one that is clear in a single column may be the machine's or the draw's.",
             f"Trained on: {'; '.join(f'{name} ({time})' for name, time in zip(machines, TIMES))}."]
    title = f"Do the differences hold when trained again? {caption(dataset, list(rows['recorded']))}"
    table = Table(f"repeated_differences_{dataset}", title, mark_of(list(rows["repeated"])), columns, body, notes)
    sources = {"inputs": [record["id"] for some in rows.values() for row in some for record in row.records]}
    write_table(table, reports / "tables", MODULES, **sources)
    path = reports / "figures" / f"repeated_{dataset}"
    record = make_record(path, "figure", MODULES, mark=table.mark, **sources)
    changes = [Change(f"{cells['title']}, {time}", {score: cells[f"{score}_difference_{time}"] for score in SCORES})
               for cells in body if cells["label"] != reference.label for time in TIMES]
    with figure_style():
        figure = draw_forest(changes, SCORES, f"{dataset_title(dataset)}: difference to {reference.title}, as recorded and trained again", table.mark)
        save_figure(figure, path, record, f"Differences recorded and repeated on {dataset_title(dataset)}")
    return table
