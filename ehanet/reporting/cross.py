"""Networks trained on one data set and tested on another: how far they fall, and whether they keep their order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from ehanet.metrics.scores import read_scores
from ehanet.reporting.artefacts import discard, make_record
from ehanet.reporting.forest import Change, draw_forest
from ehanet.reporting.results import Result, mark_of_manifest, read_corrupted, read_results
from ehanet.reporting.robustness import absent_rows, no_checkpoints, origin_notes, untried_titles
from ehanet.reporting.style import figure_style, save_figure
from ehanet.reporting.tables import Column, Score, Table, write_table
from ehanet.reporting.tracks import against_references, compare_tracks, find_references, of_track, reference_names, track_column, track_notes, tracks_of
from ehanet.reporting.wording import dataset_title, group_word

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
    discard(path)  # of another choice of methods
    if scores.empty:
        table = no_checkpoints(f"cross_{dataset}", caption, about, rows)
        write_table(table, reports / "tables", MODULES, inputs=[about["id"]])
        return table
    titles = (dataset_title(dataset), _title(other))
    places = dict(zip(PLACES, (_rows(rows, scores, lambda label, seed: read_scores(reports / "scores" / dataset / f"{label}__seed{seed}.csv")),
                               _rows(rows, scores, lambda label, seed: scores[(scores["label"] == label) & (scores["seed"] == seed)]))))
    table = _table(f"cross_{dataset}", caption, places, about, rows, titles)
    inputs = [about["id"], *(record["id"] for row in places["home"] for record in row.records)]
    write_table(table, reports / "tables", MODULES, inputs=inputs)
    if any(row.get("dice_difference_away") for row in table.rows):
        _draw(path, table, reference_names(places["away"]), inputs, titles)
    return table


def _rows(rows: list[Result], scores: pd.DataFrame, frame: Callable[[str, int], pd.DataFrame]) -> list[Result]:
    """Those of the rows that were tried on the other data set, with the scores that ``frame`` has for a label and seed."""
    seeds = {label: list(dict.fromkeys(own["seed"])) for label, own in scores.groupby("label", sort=False)}
    return [replace(row, seeds=seeds[row.label], frames=[frame(row.label, seed) for seed in seeds[row.label]]) for row in rows if row.label in seeds]


def _table(name: str, caption: str, places: dict[str, list[Result]], about: dict, rows: list[Result], titles: tuple[str, str]) -> Table:
    away, mark = places["away"], mark_of_manifest(about["data"])
    track, tested = tracks_of(away), len(away) > len(find_references(away))
    body = [{"title": row.title, "label": row.label, "track": track[row.label], "mark": mark} for row in away]
    columns = [Column("title", "Method"), Column("label", "Label", shown=False), track_column(away)]
    for score, words in SCORES.items():
        for place, title in zip(PLACES, titles):
            means, there = compare_tracks(places[place], score), place == "away"
            changes = against_references(places[place], score, means)
            for cells in body:
                label = cells["label"]
                cells[f"{score}_{place}"] = Score(*(float(means.loc[label, key]) for key in ("mean", "low", "high")))
                cells[f"{score}_difference_{place}"], cells[f"{score}_p_{place}"] = changes.get(label, (None, ""))
            columns += [Column(f"{score}_{place}", f"{words} on {title}{'' if there else ', test'}", "score", shown=there or score == "dice"),
                        Column(f"{score}_difference_{place}", "Δ there", "score", shown=there and tested), Column(f"{score}_p_{place}", "p (Holm)", "value", shown=there and tested)]
    columns.append(Column("mark", "Mark"))
    alike = about.get("about", {}).get("alike")  # older records do not say
    likeness = "" if alike is None else f" By perceptual hash {len(alike) or 'none'} of them {'look' if len(alike) > 1 else 'looks'} like an image of {titles[0]}{f', first image {alike[0]}' if alike else ''}."
    unit = group_word(away, about["data"])
    notes = [f"Trained on {titles[0]} alone. {titles[1]}: {about['images']} of {about['data']['count']} images.{likeness}",
             f"Intervals: 95 % bootstrap, on {titles[0]} over {group_word(places['home'])}, on {titles[1]} over {unit}."]
    if tested:
        notes.append(f"Δ there: mean of the row minus {reference_names(away)} on {titles[1]}, image by image, with its interval; p: paired permutation test{'' if unit == 'images' else f' of whole {unit}'}, "
                     f"corrected by Holm over the rows{of_track(away)}.")
    notes += track_notes(away)
    scored = list(body)
    body += absent_rows(about, rows, scored)
    if untried := untried_titles(rows, body):
        notes.append(f"Scored on {titles[0]}, but not tried on {titles[1]} here: {'; '.join(untried)}.")
    notes += origin_notes(about, scored)
    if about["data"]["name"].startswith("phantom-"):
        notes.append("The other data set is the same kind of phantom drawn with another seed, written as a folder of images and masks and read by the importer for "
                     "one's own images.")
    return Table(name, caption, mark, columns, body, notes)


def _draw(path: Path, table: Table, reference: str, inputs: list[str], titles: tuple[str, str]) -> None:
    """The difference of each network to the reference at home and away, a panel a score and data set."""
    panels = {f"{score}_difference_{place}": f"{words} on {title}" for score, words in SCORES.items() for place, title in zip(PLACES, titles)}
    changes = [Change(cells["title"], {panel: cells[panel] for panel in panels}) for cells in table.rows if cells.get("dice_difference_away")]
    record = make_record(path, "figure", MODULES, mark=table.mark, inputs=inputs)
    with figure_style():
        save_figure(draw_forest(changes, panels, f"Trained on {titles[0]}: difference to {reference} there and on {titles[1]}", table.mark), path, record, table.caption)


def _title(other: str) -> str:
    """"Phantom polyps, seed 1" for the data set that ``ehanet.robustness.write_phantom_folder`` draws."""
    name, _, seed = other.rpartition("-seed")
    return f"{dataset_title(name)}, seed {seed}" if name and seed.isdigit() else dataset_title(other)
