"""Networks trained on one data set and tested on another: how far they fall, and whether they keep their order."""

from __future__ import annotations

from pathlib import Path

from ehanet.metrics.scores import read_scores
from ehanet.metrics.statistics import compare, paired_differences
from ehanet.reporting.artefacts import make_record
from ehanet.reporting.forest import Change, draw_forest
from ehanet.reporting.results import find_ehanets, mark_of_manifest, read_corrupted, read_results
from ehanet.reporting.robustness import absent_rows, no_checkpoints
from ehanet.reporting.style import figure_style, look, save_figure
from ehanet.reporting.tables import Column, Score, Table, write_table
from ehanet.reporting.tracks import track_column, tracks_of
from ehanet.reporting.wording import dataset_title, p_in_words

MODULES = ["ehanet.reporting.cross"]
SCORES = {"dice": "mDice", "boundary_f1": "Boundary F1"}
PLACES = ("home", "away")  # the data set that the networks were trained on, and the other


def cross_report(reports: str | Path, dataset: str, other: str) -> Table:
    """Write tables/cross_<dataset> and figures/cross_<dataset> from robustness/<dataset>__on__<other>.csv and scores/<dataset>/; returns the table.

    The figure, the differences to EHANet on both data sets, needs a second network; without one there is none.
    """
    reports = Path(reports)
    scores, about = read_corrupted(reports / "robustness" / f"{dataset}__on__{other}.csv")
    caption = f"Another data set. Trained on {dataset_title(dataset)}, tested on {_title(other)}"
    rows = read_results(reports, dataset)
    path = reports / "figures" / f"cross_{dataset}"
    for left in path.parent.glob(f"{path.name}.*"):
        left.unlink()  # of another choice of methods
    if scores.empty:
        table = no_checkpoints(f"cross_{dataset}", caption, about, rows)
        write_table(table, reports / "tables", MODULES, inputs=[about["id"]])
        return table
    seeds = {label: list(dict.fromkeys(own["seed"])) for label, own in scores.groupby("label", sort=False)}
    frames = {"home": {label: [read_scores(reports / "scores" / dataset / f"{label}__seed{seed}.csv") for seed in own] for label, own in seeds.items()},
              "away": {label: [scores[(scores["label"] == label) & (scores["seed"] == seed)] for seed in own] for label, own in seeds.items()}}
    methods = dict(zip(scores["label"], scores["method"]))
    reference = next((row.label for row in find_ehanets(rows) if row.label in methods), next(iter(methods)))
    table = _table(f"cross_{dataset}", caption, frames, methods, reference, about, rows, (dataset_title(dataset), _title(other)))
    write_table(table, reports / "tables", MODULES, inputs=[about["id"]])
    if len(methods) > 1:
        _draw(path, table, reference, about, (dataset_title(dataset), _title(other)))
    return table


def _table(name: str, caption: str, frames: dict, methods: dict[str, str], reference: str, about: dict, rows: list, titles: tuple[str, str]) -> Table:
    track, mark = tracks_of(rows), mark_of_manifest(about["data"])
    body = {label: {"title": look(label, method).title, "label": label, "track": track.get(label), "mark": mark} for label, method in methods.items()}
    several = len(methods) > 1
    columns = [Column("title", "Method"), Column("label", "Label", shown=False), track_column(rows)]
    for score, words in SCORES.items():
        for place, title in zip(PLACES, titles):
            found = compare(frames[place], score, reference).set_index("method")
            change = {label: Score(*values) for label, *values in paired_differences(frames[place], score, reference).itertuples()}
            for label, cells in body.items():
                one = found.loc[label]
                cells |= {f"{score}_{place}": Score(float(one["mean"]), float(one["low"]), float(one["high"])), f"{score}_difference_{place}": change.get(label),
                          f"{score}_p_{place}": p_in_words(one["p_holm"])}
            away = several and place == "away"
            columns += [Column(f"{score}_{place}", f"{words} on {title}{', test' if place == 'home' else ''}", "score", shown=score == "dice" or place == "away"),
                        Column(f"{score}_difference_{place}", "Δ there", "score", shown=away), Column(f"{score}_p_{place}", "p (Holm)", "value", shown=away)]
    columns.append(Column("mark", "Mark"))
    alike = about["about"]["alike"]
    likeness = f", {len(alike)} of which look like one of {titles[0]} (perceptual hash), {alike[0]} first" if alike else f"; none looks like one of {titles[0]} (perceptual hash)"
    notes = [f"Trained on {titles[0]} alone. {titles[1]}: {about['images']} of {about['data']['count']} images{likeness}.",
             "Intervals: 95 % bootstrap over the images of each data set, or over patients or videos where several images are of one."]
    if several:
        notes.append(f"Δ there: mean of the row minus {look(reference, methods[reference]).title} on {titles[1]}, image by image over the same seeds, with its interval; p: paired permutation test of whole "
                     "images, patients or videos, corrected by Holm over the rows.")
    if about["data"]["name"].startswith("phantom-"):
        notes.append("The other data set is the same kind of phantom drawn with another seed, written as a folder of images and masks and read by the importer for "
                     "one's own images.")
    return Table(name, caption, mark, columns, list(body.values()) + absent_rows(about, rows), notes)


def _draw(path: Path, table: Table, reference: str, about: dict, titles: tuple[str, str]) -> None:
    """The difference of each network to the reference at home and away, a panel a score and data set."""
    panels = {f"{score}_difference_{place}": f"{words} on {title}" for score, words in SCORES.items() for place, title in zip(PLACES, titles)}
    changes = [Change(cells["title"], {panel: cells[panel] for panel in panels}) for cells in table.rows if cells["label"] != reference and cells.get("dice_away")]
    name = next(cells["title"] for cells in table.rows if cells["label"] == reference)
    record = make_record(path, "figure", MODULES, mark=table.mark, inputs=[about["id"]])
    with figure_style():
        save_figure(draw_forest(changes, panels, f"Trained on {titles[0]}: difference to {name} there and on {titles[1]}", table.mark), path, record, table.caption)


def _title(other: str) -> str:
    """"Phantom polyps, seed 1" for the data set that ``ehanet.robustness.write_phantom_folder`` draws."""
    name, _, seed = other.rpartition("-seed")
    return f"{dataset_title(name)}, seed {seed}" if name and seed.isdigit() else dataset_title(other)
