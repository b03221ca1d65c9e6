"""The comparison on one data set: table, differences to EHANet, published anchors, score plot; from result files only."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from ehanet.metrics.statistics import ALPHA, smallest_p
from ehanet.reporting.artefacts import discard, make_record
from ehanet.reporting.plots import draw_scores
from ehanet.reporting.results import NEVER_FOUND, PAPER_SETS, PUBLISHED, Result, mark_of, published, read_results
from ehanet.reporting.style import figure_style, save_figure
from ehanet.reporting.tables import Column, Score, Table, write_table
from ehanet.reporting.tracks import by_track, compare_tracks, find_references, of_track, reference_names, track_column, track_notes, tracks_of
from ehanet.reporting.volumes import volumes_table
from ehanet.reporting.wording import caption, common, dataset_title, group_word, p_in_words, setting_notes

MODULES = ["ehanet.reporting.compare"]
SHOWN = {"iou": "mIoU", "dice": "mDice", "recall": "Recall", "precision": "Precision", "f2": "F2", "hd95": "HD95 (px)",
         "boundary_iou": "Boundary IoU", "boundary_f1": "Boundary F1"}
DISTANCES = ("hd", "hd95", "assd", "masd")  # in pixels: two decimals are plenty
TESTED = {"dice": "Dice", "boundary_f1": "Boundary F1", "hd95": "HD95"}  # scores of the table of differences
EXACT = ("p_holm_exact", "p_permutation", "p_wilcoxon")  # unrounded, in the CSV
KEPT = ("specificity", "accuracy", "hd", "assd", "masd", "nsd_1", "nsd_2", "nsd_3", "s_measure", "e_measure", "weighted_f", "mae")  # means, in the CSV


def comparison(reports: str | Path, dataset: str) -> dict[str, Table]:
    """Write the comparison of a data set from ``reports``/scores/<dataset>/ and return its tables by name.

    Networks that began with random weights and those whose encoder began trained are ranked, tested and printed bold apart
    (``ehanet.reporting.tracks``), each against the EHANet of its track, or its first row where it has none.

    Writes tables/comparison_<dataset>, tables/differences_<dataset>, where images form volumes tables/volumes_<dataset>, and for the paper's data
    sets tables/published_<dataset> (.csv, .md, .tex, each with a .json record), and figures/scores_<dataset> (.png, .pdf, .json).

    Raises:
        FileNotFoundError, ValueError: scores are missing or damaged; the message names the file.
    """
    reports = Path(reports)
    rows = read_results(reports, dataset)
    tracks = by_track(rows)
    scored = [row for own in tracks.values() for row in own]
    rows = [*scored, *[row for row in rows if not row.frames]]
    references = find_references(rows)
    statistics = {score: compare_tracks(rows, score) for score in SHOWN}
    sources = {"inputs": [record["id"] for row in scored for record in row.records],
               "warnings": sorted({warning for row in scored for record in row.records for warning in record.get("warnings", [])})}
    tables = [_scores(dataset, rows, statistics, tracks)]
    if len(scored) > 1:
        tables.append(_differences(dataset, rows, statistics, tracks, references))
    else:
        discard(reports / "tables" / f"differences_{dataset}")
    if (volumes := volumes_table(reports, dataset, rows)) is not None:
        tables.append(volumes)
    else:
        discard(reports / "tables" / f"volumes_{dataset}")
    if dataset in PAPER_SETS:
        tables.append(_published(dataset))
    for table in tables:
        write_table(table, reports / "tables", MODULES, **({"inputs": []} if table.mark == PUBLISHED else sources))
    figure_path = reports / "figures" / f"scores_{dataset}"
    record = make_record(figure_path, "figure", MODULES, mark=mark_of(rows), **sources)
    with figure_style():
        figure = draw_scores(tracks, statistics, references, dataset_title(dataset), mark_of(rows))
        save_figure(figure, figure_path, record, f"Scores on {dataset_title(dataset)}")
    return {table.name: table for table in tables}


def _scores(dataset: str, rows: list[Result], statistics: dict[str, pd.DataFrame], tracks: dict[str, list[Result]]) -> Table:
    scored = [row for row in rows if row.frames]
    mark = mark_of(rows)
    varies = {key: common([value(row) for row in scored]) is None for key, value in (
        ("size", lambda r: r.config["size"]), ("epochs", lambda r: r.config["epochs"]), ("seeds", lambda r: r.seeds))}
    left_out = bool(statistics["recall"]["left_out"].any())
    empty = int(scored[0].frames[0]["gt_empty"].sum())
    kept = [name for name in KEPT if name in scored[0].frames[0]]
    undefined = "specificity" in kept and any(frame["specificity"].isna().any() for row in scored for frame in row.frames)
    columns = [Column("title", "Method"), Column("label", "Label", shown=False), Column("method", "Network", shown=False),
               track_column(rows), Column("encoder", "Encoder"),
               Column("size", "Side (px)", "count", shown=varies["size"]), Column("epochs", "Epochs", "count", shown=varies["epochs"]),
               Column("seeds", "Seeds", shown=varies["seeds"]), Column("images", "Images", "count", shown=False),
               *[Column(score, title, "score", 2 if score in DISTANCES else 3) for score, title in SHOWN.items()],
               Column("dice_object", "mDice, objects", "score", shown=empty > 0), Column("missed", "Missed", "count"), Column("spurious", "Spurious", "count"),
               Column("recall_left_out", "Recall left out", "count", shown=left_out),
               *([Column("specificity_left_out", "Specificity left out", "count", shown=False)] if undefined else []), Column("mark", "Mark"),
               *[Column(f"{score}_sd_seeds", f"{title}, SD over seeds", shown=False) for score, title in SHOWN.items()],
               *[Column(name, name, shown=False) for name in kept]]
    track = tracks_of(rows)
    body = [_row(row, mark, statistics, kept) | ({"track": track[row.label]} if row.frames else {}) for row in rows]
    unit = group_word(scored)
    notes = [f"Cells: mean over the test images (and seeds) with its 95 % bootstrap interval over {unit}. Higher is better, but for HD95 lower.",
             *([_bold_note(body, tracks)] if len(scored) > 1 else []),
             "Missed: the label has an object, the prediction is empty. Spurious: the reverse. Both count images"
             + (" of all seeds." if any(len(row.seeds) > 1 for row in scored) else ".")]
    if empty:
        notes.append(f"{empty} of the {len(scored[0].frames[0])} test images hold no object: there Dice, IoU and the edge scores are 1 where nothing is drawn, so that empty predictions alone reach "
                     f"{empty / len(scored[0].frames[0]):.3f}. mDice, objects: over the others.")
    if any(row["missed"] or row["spurious"] for row in body if "missed" in row):
        diagonal = "" if varies["size"] else f", {math.hypot(*2 * [scored[0].config['size']]):.0f} px"
        notes.append(f"HD95 of an image where the label alone or the prediction alone is empty is the diagonal{diagonal}; where both are, it is 0.")
    if left_out:
        notes.append("Recall is undefined where only the prediction has an object; these images are left out of its mean and counted.")
    notes += track_notes(rows)
    return Table(f"comparison_{dataset}", caption(dataset, scored), mark, columns, body, notes + setting_notes(scored))


def _row(row: Result, mark: str, statistics: dict[str, pd.DataFrame], kept: list[str]) -> dict:
    if not row.frames:
        return row.empty_cells
    cells = {"title": row.title, "label": row.label, "method": row.method, "encoder": row.encoder, "size": row.config["size"], "epochs": row.config["epochs"],
             "seeds": " ".join(map(str, row.seeds)),
             "images": len(row.frames[0]), "mark": mark, "recall_left_out": int(statistics["recall"].loc[row.label, "left_out"]),
             "missed": row.missed, "spurious": row.spurious}
    for score, table in statistics.items():
        found = table.loc[row.label]
        cells[score] = Score(float(found["mean"]), float(found["low"]), float(found["high"]), bool(found["bold"]))
        cells[f"{score}_sd_seeds"] = float(found["sd_seeds"])
    every = pd.concat(row.frames)
    cells["dice_object"] = Score(float(every.loc[~every["gt_empty"].astype(bool), "dice"].mean()))
    cells |= {"specificity_left_out": int(every["specificity"].isna().sum())} if "specificity" in kept else {}
    return cells | {name: float(every[name].mean()) for name in kept}


def _bold_note(body: list[dict], tracks: dict[str, list[Result]]) -> str:
    bold = any(cell.bold for row in body for cell in row.values() if isinstance(cell, Score))
    note = "Bold: the best mean, and significantly better than every other row" + " of its track" * (len(tracks) > 1) + f" (paired permutation tests, Holm-corrected p < {ALPHA})."
    if bold:
        return note
    reachable = smallest_p(next(iter(tracks.values()))[0].frames[0]["group"].to_numpy(), max(map(len, tracks.values())) - 1)
    few = f" With so few {group_word(next(iter(tracks.values())))} and as many rows the smallest possible p is {reachable:.3f}." if reachable >= ALPHA else ""
    return f"{note} No cell is bold: no row beats every other one significantly.{few}"


def _differences(dataset: str, rows: list[Result], statistics: dict[str, pd.DataFrame], tracks: dict[str, list[Result]], references: dict[str, Result]) -> Table:
    track = tracks_of(rows)
    columns = [Column("title", "Method"), Column("label", "Label", shown=False), track_column(rows)]
    for score, title in TESTED.items():
        digits = 2 if score in DISTANCES else 3
        columns += [Column(f"{score}_difference", f"Δ {title}", "score", digits), Column(f"{score}_p_holm", "p (Holm)", "value"),
                    Column(f"{score}_effect", "Effect", "score", 2), Column(f"{score}_first_share", "First", "value"),
                    *[Column(f"{score}_{p}", p, shown=False) for p in EXACT]]
    columns.append(Column("mark", "Mark"))
    body = []
    for row in rows:
        if not row.frames:
            body.append(row.empty_cells)
            continue
        cells = {"title": row.title, "label": row.label, "track": track[row.label], "mark": mark_of(rows)}
        for score in TESTED:
            found = statistics[score].loc[row.label]
            itself = row is references[track[row.label]]
            cells[f"{score}_first_share"] = f"{100 * found['first_share']:.0f} %" if len(tracks[track[row.label]]) > 1 else ""
            cells[f"{score}_difference"] = None if itself else Score(float(found["difference"]))
            cells[f"{score}_effect"] = None if itself else Score(float(found["effect"]))
            cells[f"{score}_p_holm"] = "" if itself else p_in_words(found["p_holm"])
            cells |= {f"{score}_{p}": "" if itself else f"{found[p.removesuffix('_exact')]:.6g}" for p in EXACT}
        body.append(cells)
    own, unit = of_track(rows), group_word([row for row in rows if row.frames])
    whole, drawn = ("", "test images") if unit == "images" else (f" over whole {unit}", unit)
    notes = [f"Δ: mean of the row minus {reference_names(rows)}, image by image. p: paired permutation test of that difference{whole}, corrected by Holm over the rows{own}.",
             f"Effect: Cohen's d of the {'paired' if unit == 'images' else f'{unit}’ mean'} differences. First: how often the row ranks first{own} when the {drawn} are drawn anew (bootstrap).",
             f"Intervals and tests speak of other {drawn}, not of another training: for that, see the standard deviation over seeds in the CSV."]
    return Table(f"differences_{dataset}", f"{dataset_title(dataset)}: difference of every method to {reference_names(rows)}", mark_of(rows), columns, body, notes)


def _published(dataset: str) -> Table:
    columns = [Column("title", "Method"), Column("setting", "Setting"), Column("dice", "mDice", "value"), Column("iou", "mIoU", "value"), Column("other", "Other"),
               Column("source", "Source"), Column("mark", "Mark")]
    body = [{"title": "EHANet", "setting": "the paper (doi 10.1016/j.bspc.2024.107202)", "source": "not public; this place is kept for it", "mark": PUBLISHED}]
    body += [{"title": row["method"], "setting": row["setting"], "dice": row["mdice"], "iou": row["miou"], "other": row["other"], "source": row["source"],
              "mark": PUBLISHED} for row in published(dataset)]
    body.append(NEVER_FOUND.empty_cells)
    notes = ["Printed as their authors give them, on their own splits and settings: not to be ranked against the table of this report."]
    return Table(f"published_{dataset}", f"{dataset_title(dataset)}: numbers of other publications", PUBLISHED, columns, body, notes)
