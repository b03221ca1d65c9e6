"""Robustness: curves of Dice against severity, the mean corruption error, differences to the reference; from result files."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ehanet.data import Dataset
from ehanet.data.corruptions import SEVERITIES, corrupt
from ehanet.metrics.corruption import Resampled, corruption_errors, interval, resample_conditions
from ehanet.reporting.artefacts import make_record
from ehanet.reporting.overlays import brightened, display_note
from ehanet.reporting.results import Result, corrupted_frames, mark_of_manifest, read_corrupted, read_results
from ehanet.reporting.style import MUTED, WIDTH, figure_style, headline, look, looks, panels_across, plt, save_figure, stamp
from ehanet.reporting.tables import Column, Score, Table, write_table
from ehanet.reporting.tracks import against_references, of_track, reference_names, track_column, track_notes, tracks_of
from ehanet.reporting.wording import dataset_title, group_word, trained_encoders

MODULES = ["ehanet.reporting.robustness"]
REFERENCES = ("unet", "unet-32")  # of the mean corruption error, the first that is there


def robustness_report(reports: str | Path, dataset: str) -> Table:
    """Write tables/robustness_<dataset> and figures/robustness_<dataset> from robustness/<dataset>.csv and return the table."""
    reports = Path(reports)
    scores, about = read_corrupted(reports / "robustness" / f"{dataset}.csv")
    rows = read_results(reports, dataset)
    found = resample_conditions(scores) if len(scores) else None
    methods = dict(zip(scores["label"], scores["method"]))
    damaged = corrupted_frames(scores)
    tried = [replace(row, frames=damaged[row.label]) for row in rows if row.label in damaged]
    table = _corruption_table(dataset, found, methods, about, rows, tried) if found else no_checkpoints(f"robustness_{dataset}", f"{dataset_title(dataset)}: Dice under corruption", about, rows)
    write_table(table, reports / "tables", MODULES, inputs=[about["id"]])
    path = reports / "figures" / f"robustness_{dataset}"
    record = make_record(path, "figure", MODULES, mark=table.mark, inputs=[about["id"]])
    with figure_style():
        figure = _draw_curves(dataset, found, methods, about["images"], trained_encoders([row for row in rows if row.label in methods]), table.mark) if found else _draw_nothing(dataset, table.mark)
        save_figure(figure, path, record, f"Robustness on {dataset_title(dataset)}")
    return table


def corruption_sheet(data: Dataset, reports: str | Path, corruptions: list[str]) -> Path:
    """Draw figures/corruptions_<data set>: one test image under each corruption and severity; returns the PNG's path."""
    index = max(data.splits["test"], key=lambda place: (bool(data.masks[place].any()), -abs(int(data.masks[place].sum()) - data.masks[place].size // 8)))
    mark, path = mark_of_manifest(data.manifest), Path(reports) / "figures" / f"corruptions_{data.name}"
    record = make_record(path, "figure", MODULES, mark=mark, images=[data.ids[index]], data=data.manifest)
    with figure_style():
        figure = _draw_sheet(data, int(index), corruptions, mark)
        save_figure(figure, path, record, f"Corruptions of {dataset_title(data.name)}")
    return path.with_suffix(".png")


def absent_rows(about: dict, rows: list[Result], body: list[dict] = ()) -> list[dict]:
    """The rows without numbers, which ``body`` does not have: those whose checkpoint is not here, each seed's reason once, then those without scores in any table."""
    told = {cells["label"] for cells in body}
    here = {row["label"]: {"title": look(row["label"], row["method"]).title, "label": row["label"], "mark": row["reason"]} for row in about["absent"] if row["label"] not in told}
    return [*here.values(), *[row.empty_cells for row in rows if not row.frames]]


def origin_notes(about: dict, body: list[dict]) -> list[str]:
    """Which trainings of the rows in ``body`` were not tried, and how many runs' scores were computed before, by another step."""
    told, missing = {cells["label"]: cells["title"] for cells in body}, defaultdict(list)
    for row in about["absent"]:
        if row["label"] in told:
            missing[told[row["label"]]].append(str(row["seed"]))
    titles = [f"{title}, seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}" for title, seeds in missing.items()]
    kept = [f"{len(entry['runs'])} at commit {str(entry['commit'])[:7]}" for entry in about.get("about", {}).get("kept", [])]
    return [*([f"Not tried, for want of a checkpoint: {'; '.join(titles)}."] if titles else []),
            *([f"Of {len(about['inputs'])} runs the scores of some were computed earlier and kept: {', '.join(kept)}."] if kept else [])]


def untried_titles(rows: list[Result], body: list[dict]) -> list[str]:
    """The methods with scores that have no row in the body of a table, not even an empty one."""
    told = {cells.get("label") for cells in body}
    return [row.title for row in rows if row.frames and row.label not in told]


def no_checkpoints(name: str, caption: str, about: dict, rows: list[Result]) -> Table:
    """The table where no run has a checkpoint."""
    columns = [Column("title", "Method"), Column("label", "Label", shown=False), Column("clean", "mDice, clean", "score"), Column("mark", "Mark")]
    notes = ["No run of this report has its checkpoint or kept scores on this machine. make paper without KEEP=1 trains them and fills this table."]
    return Table(name, caption, mark_of_manifest(about["data"]), columns, absent_rows(about, rows), notes)


def _draw_nothing(dataset: str, mark: str) -> Figure:
    figure = plt.figure(figsize=(WIDTH, 0.6))
    figure.text(0.06 / WIDTH, 0.4, f"{dataset_title(dataset)}: no run has its checkpoint here, so none was tried on corrupted images", ha="left", va="center", fontsize=8)
    stamp(figure, mark)
    return figure


def _words(corruption: str) -> str:
    """The name of a corruption as a heading."""
    return "JPEG" if corruption == "jpeg" else corruption.capitalize()


def _corruption_table(dataset: str, found: Resampled, methods: dict[str, str], about: dict, rows: list[Result], tried: list[Result]) -> Table:
    """``tried``: the rows with their Dice on the corrupted images."""
    track, changes = tracks_of(tried), against_references(tried, "dice")
    reference = next((label for label in REFERENCES if label in found.methods), None)
    mark = mark_of_manifest(about["data"])
    columns = [Column("title", "Method"), Column("label", "Label", shown=False), track_column(tried), Column("clean", "mDice, clean", "score"),
               Column("corrupted", "mDice, corrupted", "score"), Column("difference", "Δ", "score", shown=bool(changes)), Column("p", "p (Holm)", "value", shown=bool(changes)), Column("kept", "Kept", "value"), Column("mce", "mCE", "score", 1, shown=reference is not None),
               *[Column(name.replace(" ", "_"), _words(name), "score", 3) for name in found.corruptions], Column("mark", "Mark")]
    clean, corrupted = interval(found.clean), interval(found.corrupted.mean(axis=(2, 3)))
    by_kind = found.corrupted[0].mean(axis=2)
    errors = interval(corruption_errors(found, reference).mean(axis=2)) if reference else None
    body = []
    for place, label in enumerate(found.methods):
        cells = {"title": look(label, methods[label]).title, "label": label, "track": track.get(label), "mark": mark,
                 "clean": Score(*(float(part[place]) for part in clean)), "corrupted": Score(*(float(part[place]) for part in corrupted)),
                 "kept": f"{100 * corrupted[0][place] / clean[0][place]:.0f} %" if clean[0][place] > 0 else ""}
        cells["difference"], cells["p"] = changes.get(label, (None, ""))
        if errors:
            itself = label == reference
            cells["mce"] = Score(100.0) if itself else Score(*(float(part[place]) for part in errors))
        body.append(cells | {name.replace(" ", "_"): Score(float(by_kind[place, kind])) for kind, name in enumerate(found.corruptions)})
    scored = list(body)
    body += absent_rows(about, rows, scored)
    notes = [f"{about['images']} test images under {len(found.corruptions)} corruptions of five severities; corrupted: mean over all of them. Brackets: 95 % bootstrap "
             f"interval over {group_word(tried)}. Kept: corrupted in percent of clean.",
             *([f"Δ: mean Dice on the corrupted images minus that of {reference_names(tried)}, image by image, with its interval; p: paired permutation test, corrected by Holm over the rows{of_track(tried)}."] if changes else []), *track_notes(tried),
             f"mCE: 1 − Dice summed over severities, in percent of that of {look(reference, methods[reference]).title}, mean over corruptions; below 100 is more robust than it."
             if reference else "No mean corruption error: it is relative to U-Net, and neither unet nor unet-32 is among these runs.",
             "Columns of corruptions: mean Dice over the five severities."]
    if untried := untried_titles(rows, body):
        notes.append(f"Scored, but not tried on corrupted images here: {'; '.join(untried)}.")
    notes += origin_notes(about, scored)
    return Table(f"robustness_{dataset}", f"{dataset_title(dataset)}: Dice under corruption", mark, columns, body, notes)


def _draw_curves(dataset: str, found: Resampled, methods: dict[str, str], images: int, trained: str, mark: str) -> Figure:
    """A panel a corruption, a line a method from the clean images (severity 0) to severity 5, with its interval as a band."""
    across = panels_across(len(found.corruptions))
    rows = -(-len(found.corruptions) // across)
    heading, more = headline(f"{dataset_title(dataset)}: Dice by severity of each corruption (0: as it is); {images} test images, bands: 95 % interval", trained)
    head = 0.3 + more
    height = 1.55 * rows + 0.55 + head
    figure, axes = plt.subplots(rows, across, figsize=(WIDTH, height), sharex=True, sharey=True, squeeze=False, layout="constrained")
    legend_lines = -(-len(found.methods) // 5)
    figure.get_layout_engine().set(rect=(0, (0.12 + 0.16 * legend_lines) / height, 1, 1 - (0.12 + head + 0.16 * legend_lines) / height), w_pad=0.04)
    severities, styles = [0, *found.severities], looks({label: methods[label] for label in found.methods})
    for axis, name in zip(axes.flat, found.corruptions):
        kind = found.corruptions.index(name)
        for place, (label, style) in enumerate(styles.items()):
            mean, low, high = interval(np.concatenate([found.clean[:, [place]], found.corrupted[:, place, kind]], axis=1))
            axis.fill_between(severities, low, high, color=style.colour, alpha=0.12, linewidth=0)
            axis.plot(severities, mean, color=style.colour, linestyle=style.line, marker=style.marker, markersize=3.6 * style.scale, linewidth=1.2, label=style.title)
        axis.set_title(_words(name), fontsize=7.5)
        axis.set_ylim(-0.02, 1.02)
        axis.set_xticks(severities)
    for place, axis in enumerate(axes.flat):
        axis.set_visible(place < len(found.corruptions))
        lowest = place + across >= len(found.corruptions)
        axis.tick_params(labelbottom=lowest)
        axis.set_xlabel("severity" if lowest else "", fontsize=7)
    figure.supylabel("mean Dice", fontsize=7.5)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="lower center", ncols=min(5, len(found.methods)), fontsize=6.8, handlelength=3.2, bbox_to_anchor=(0.5, 0))
    figure.text(0.06 / WIDTH, 1 - 0.06 / height, heading, ha="left", va="top", fontsize=7.2, color=MUTED)
    stamp(figure, mark)
    return figure


def _draw_sheet(data: Dataset, index: int, corruptions: list[str], mark: str) -> Figure:
    clean, left, head, gap = data.images[index], 1.2, 0.42, 0.03
    cell = (WIDTH - left) / (1 + len(SEVERITIES)) - gap
    cell = min(cell, 0.55)  # 88 pixels: noise hardly compresses, and the sheet stands in a notebook too
    height = head + len(corruptions) * (cell + gap) + 0.03
    figure = plt.figure(figsize=(left + (1 + len(SEVERITIES)) * (cell + gap) + 0.03, height))
    width = figure.get_figwidth()
    for row, name in enumerate(corruptions):
        bottom = height - head - (row + 1) * (cell + gap)
        figure.text((left - 0.08) / width, (bottom + cell / 2) / height, _words(name), ha="right", va="center", fontsize=7)
        for column, severity in enumerate((0, *SEVERITIES)):
            axis = figure.add_axes(((left + column * (cell + gap)) / width, bottom / height, cell / width, cell / height))
            picture = corrupt(clean, name, severity, seed=index) if severity else clean
            axis.imshow(brightened(picture, like=clean), interpolation="nearest")
            axis.set_axis_off()
            if row == 0:
                axis.set_title(str(severity) if severity else "as it is", loc="center", fontsize=7, fontweight="normal", pad=2)
    figure.text(0.06 / width, 1 - 0.06 / height, f"{dataset_title(data.name)}: corruptions by severity{display_note([clean])}", ha="left", va="top", fontsize=7, color=MUTED)
    stamp(figure, mark)
    return figure
