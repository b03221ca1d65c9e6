"""The study of edges: the edge branch against the label's contour, and where each method errs by the distance to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.ndimage import distance_transform_edt

from ehanet.data import Dataset
from ehanet.metrics import edge_f1
from ehanet.metrics.contours import error_rates, errors_by_distance
from ehanet.metrics.distances import surface
from ehanet.metrics.regions import binarise, dice_per_image
from ehanet.predictions import Predictions
from ehanet.reporting.artefacts import make_record
from ehanet.reporting.overlays import PREDICTION, TRUTH, contour_legend, display_note, draw_contour, name_row, picture_grid, places_of, read_maps, show
from ehanet.reporting.pictures import QUANTILES, choose_by_dice
from ehanet.reporting.results import Result, find_reference, mark_of, read_results, without_part
from ehanet.reporting.style import INK, MUTED, WIDTH, figure_style, look, looks, plt, save_figure, stamp
from ehanet.reporting.tables import Column, Score, Table, write_table
from ehanet.reporting.tracks import compare_tracks, find_references, track_column, track_notes, tracks_of
from ehanet.reporting.wording import dataset_title, group_word

MODULES = ["ehanet.reporting.edges"]
NEAR = 2  # pixels from the contour that the table calls "at the contour", and the tolerance of the edge scores
CURVES = 5  # methods in the figure of the curve; the table has all
FEWEST = 5  # images, or patients, that a distance must be found in to be drawn: the middle of one large object says little


def edges_report(data: Dataset, reports: str | Path) -> Table:
    """Write figures/edges_<data set> and edge_distance_<data set> and tables/edges_<data set>, from scores and stored maps; returns the table.

    Raises:
        FileNotFoundError, ValueError: scores or maps are missing or damaged; the message names the file.
    """
    reports = Path(reports)
    every = read_results(reports, data.name)
    rows = [row for row in every if row.frames]
    reference, mark, title = find_reference(rows, lambda row: without_part(row, rows, "iem")), mark_of(rows), dataset_title(data.name)
    inputs = {"inputs": [record["id"] for row in rows for record in row.records], "data": data.manifest}
    reach = max(6, round(data.masks.shape[1] / 8))
    found = {row.label: _measure(reports, row, data, reach) for row in rows}
    labels = data.masks[data.splits["test"]].astype(bool)
    labels = labels[labels.any(axis=(1, 2))] if labels.any() else labels
    table = _table(data, every, found, reference, mark, float(edge_f1(labels.astype(float), labels, NEAR)["ods"]))
    write_table(table, reports / "tables", MODULES, **inputs)
    with figure_style():
        chosen = curve_rows(rows, reference)
        path = reports / "figures" / f"edge_distance_{data.name}"
        figure = _draw_curves(chosen, {row.label: found[row.label]["curve"] for row in chosen}, np.arange(-reach, reach) + 0.5,
                              f"{title}: wrong pixels by distance to the label's contour, with 95 % intervals over {group_word(rows)}", mark)
        save_figure(figure, path, make_record(path, "figure", MODULES, mark=mark, **inputs), f"Errors by distance on {title}")
        path = reports / "figures" / f"edges_{data.name}"
        figure, images = _draw_gallery(reports, data, reference, without_part(reference, rows, "iem"), title, mark)
        save_figure(figure, path, make_record(path, "figure", MODULES, mark=mark, images=images, **inputs), f"Edges on {title}")
    return table


def curve_rows(rows: list[Result], reference: Result) -> list[Result]:
    """The methods of the curve: the reference, the one without IEM, the other track's EHANet, then other networks in the table's order."""
    bare = without_part(reference, rows, "iem")
    trained = [row for row in find_references(rows).values() if row is not reference]
    others = list({row.method: row for row in reversed(rows) if row.method != reference.method}.values())[::-1]  # the first of each method
    return [row for row in (reference, bare, *trained, *others) if row is not None][:CURVES]


def edge_scores(maps: Predictions, labels: np.ndarray) -> pd.Series | None:
    """What ``edge_f1`` says of a network's edge maps, and as ``own`` the F1 (ODS) of the contours of its masks; of the images with an object, since an
    empty map of an empty slice says nothing about edges. None without edge maps or objects.

    Args:
        labels: (N, H, W) bool, of the images in the order of the maps.
    """
    objects = labels.any(axis=(1, 2))
    if maps.edges is None or not objects.any():
        return None
    contours = np.stack([surface(mask) for mask in binarise(maps.probabilities[objects])]).astype(float)
    return pd.concat([edge_f1(maps.edges[objects], labels[objects], NEAR), pd.Series({"own": edge_f1(contours, labels[objects], NEAR)["ods"]})])


def _measure(reports: Path, row: Result, data: Dataset, reach: int) -> dict:
    """Error curve (3, 2 reach), error at and away from the contour (3,) each, and edge scores (None without an edge branch), over all seeds; those of each training, too."""
    wrong, pixels, far, edges = 0, 0, 0, []
    for seed in row.seeds:
        maps = read_maps(reports, row, data, seed)
        places = places_of(data, maps.ids)
        labels = data.masks[places].astype(bool)
        counts = errors_by_distance(binarise(maps.probabilities), labels, reach)
        wrong, pixels = wrong + counts.wrong, pixels + counts.pixels
        contoured = counts.pixels.any(axis=1)
        errors = (binarise(maps.probabilities) != labels).sum(axis=(1, 2)) * contoured
        near = np.abs(counts.places) < NEAR
        size = labels[0].size * contoured
        far = far + np.stack([errors - counts.wrong[:, near].sum(axis=1), size - counts.pixels[:, near].sum(axis=1)])
        if (scores := edge_scores(maps, labels)) is not None:
            deep = labels & np.stack([distance_transform_edt(~surface(label)) > NEAR for label in labels])
            scores["inside"] = float((maps.edges > scores["threshold"])[deep].mean()) if deep.any() else np.nan
            edges.append(scores)
    clusters = pd.factorize(np.array([data.groups[place] for place in places]))[0]
    groups = np.array([pixels[clusters == group].any(axis=0) for group in range(clusters.max() + 1)])
    scarce = groups.sum(axis=0) < min(FEWEST, len(groups))
    return {"curve": np.where(scarce, np.nan, error_rates(wrong, pixels, clusters)), "far": error_rates(far[0][:, None], far[1][:, None], clusters)[:, 0],
            "near": error_rates(wrong[:, near].sum(axis=1, keepdims=True), pixels[:, near].sum(axis=1, keepdims=True), clusters)[:, 0],
            "edges": pd.concat(edges, axis=1).mean(axis=1) if edges else None, "trainings": edges, "without_contour": int((~contoured).sum())}


def _table(data: Dataset, every: list[Result], found: dict[str, dict], reference: Result, mark: str, filled: float) -> Table:
    rows = [row for row in every if row.frames]
    scores = compare_tracks(rows, "boundary_f1")
    columns = [Column("title", "Method"), Column("label", "Label", shown=False), track_column(rows), Column("boundary_f1", "Boundary F1", "score"),
               Column("near", f"Wrong within {NEAR} px, %", "score", 1), Column("far", "Wrong farther off, %", "score", 2),
               Column("ods", "Edge ODS", "score"), Column("ois", "Edge OIS", "score"), Column("threshold", "Edge threshold", "score", 2),
               Column("own", "F1 of its own mask's contour", "score"), Column("inside", "Flagged inside objects, %", "score", 1),
               Column("each", "Each training: ODS (flagged inside)", shown=any(len(row.seeds) > 1 for row in rows)), Column("filled", "ODS of the label's objects, filled", "score", shown=False),
               Column("mark", "Mark")]
    track = tracks_of(rows)
    body = []
    for row in rows:
        mine, cells = found[row.label], scores.loc[row.label]
        body.append({"title": look(row.label, row.method).title, "label": row.label, "track": track[row.label], "mark": mark,
                     "boundary_f1": Score(float(cells["mean"]), float(cells["low"]), float(cells["high"]), bool(cells["bold"])),
                     **{key: Score(*(100 * mine[key]).tolist()) for key in ("near", "far")},
                     **({key: Score(float(mine["edges"][key])) for key in ("ods", "ois", "threshold", "own")}
                        | {"inside": Score(100 * float(mine["edges"]["inside"])), "filled": Score(filled),
                           "each": ", ".join(f"{one['ods']:.3f} ({100 * one['inside']:.0f} %)" for one in mine["trainings"])}
                        if mine["edges"] is not None else {})})
    notes = [f"Wrong: share of the pixels whose distance to the label's contour is below {NEAR} px, and of all others, with 95 % bootstrap intervals over {group_word(rows)}.",
             f"Edge ODS and OIS: mean over images of the F1 of the predicted edge map against the label's contour within {NEAR} px, at the one threshold that is best for all images (given), "
             "and at each image's best; only for networks with an edge branch. Both thresholds are chosen on these images.",
             f"Maps are not thinned, so a map of filled objects scores as well: the label's own would reach {filled:.3f}. Hence the share of the pixels deeper than {NEAR} px inside "
             "objects that the map flags at its threshold: a map of edges flags few.", *_edge_notes(rows, found)]
    notes += [*told, "Bold: best of its track, and significantly."] if (told := track_notes(rows)) else []
    if count := found[reference.label]["without_contour"]:
        notes.append(f"{count} images without an object have no contour and count in none of these scores but Boundary F1.")
    body += [row.empty_cells for row in every if not row.frames]
    return Table(f"edges_{data.name}", f"{dataset_title(data.name)}: edges and errors around the contour", mark, columns, body, notes)


def _edge_notes(rows: list[Result], found: dict[str, dict]) -> list[str]:
    """Whether each edge map says more than the final mask's contour does."""
    scores = {row.title: found[row.label]["edges"] for row in rows if found[row.label]["edges"] is not None}
    said = [f"{title} ({edges['ods']:.3f} against {edges['own']:.3f})" for title, edges in scores.items() if edges["ods"] <= edges["own"]]
    return [f"Edge maps that are no better than the contour of the network's own mask: {', '.join(said)}."] if said else []


def _draw_curves(rows: list[Result], curves: dict[str, np.ndarray], places: np.ndarray, heading: str, mark: str) -> Figure:
    height = 2.9
    figure, axis = plt.subplots(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - 0.3 / height))
    styles = looks({row.label: row.method for row in rows})
    for number, row in enumerate(rows):
        style = styles[row.label]
        rate, low, high = 100 * curves[row.label]
        axis.fill_between(places, low, high, color=style.colour, alpha=0.13, linewidth=0)
        axis.plot(places, rate, color=style.colour, linestyle=style.line, marker=style.marker, markersize=4 * style.scale,
                  markevery=(number, len(rows)), label=style.title, zorder=3 + (row is rows[0]))
    axis.axvline(0, color=INK, linewidth=0.8)
    axis.set(xlabel=f"distance to the label's contour, px, where at least {FEWEST} {group_word(rows)} have it", ylabel="wrong pixels, %", xlim=(places[0], places[-1]))
    axis.set_ylim(bottom=0)
    axis.text(-0.15, 0.98, "inside: missed ", transform=axis.get_xaxis_transform(), ha="right", va="top", fontsize=7, color=MUTED)
    axis.text(0.15, 0.98, " outside: spurious", transform=axis.get_xaxis_transform(), ha="left", va="top", fontsize=7, color=MUTED)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=3.2)
    figure.text(0.06 / WIDTH, 1 - 0.06 / height, heading, ha="left", va="top", fontsize=7.5, color=MUTED)
    stamp(figure, mark)
    return figure


def _draw_gallery(reports: Path, data: Dataset, reference: Result, bare: Result | None, title: str, mark: str) -> tuple[Figure, list[str]]:
    """Rows: test images by the reference's Dice; columns: contours with and without IEM, the edge map, the edge map with the label's contour."""
    maps = read_maps(reports, reference, data)
    labels = data.masks[places_of(data, maps.ids)].astype(bool)
    chosen = choose_by_dice(dice_per_image(maps.probabilities, labels), labels)
    shown = [maps.ids[index] for index in chosen]
    places = places_of(data, shown)
    methods = [(reference, maps)] + ([(bare, read_maps(reports, bare, data))] if bare else [])
    names = ["image", *(look(row.label, row.method).title.replace(", ", ",\n") for row, _ in methods)]
    names += ["predicted edge", "predicted edge\nand truth"] if maps.edges is not None else []
    heading = f"{title}: contours and edges, test images at the quartiles of the Dice of {reference.title}, seed {reference.seeds[0]}{display_note(data.images[places])}"
    figure, axes = picture_grid(len(chosen), len(names), heading, mark, names)
    for axis_row, index, place, name in zip(axes, chosen, places, QUANTILES):
        truth = data.masks[place].astype(bool)
        show(axis_row[0], data.images[place])
        name_row(axis_row[0], name if len(chosen) == len(QUANTILES) else "")
        for axis, (row, own) in zip(axis_row[1:], methods):
            at = own.ids.index(data.ids[place])
            show(axis, data.images[place], f"boundary F1 {_boundary_f1(row, data.ids[place]):.2f}")
            draw_contour(axis, truth, TRUTH)
            draw_contour(axis, binarise(own.probabilities[at:at + 1])[0], PREDICTION, beside=truth)
        if maps.edges is not None:
            for axis in axis_row[-2:]:
                show(axis, maps.edges[index], cmap="gray_r", vmin=0, vmax=1)
            axis_row[-2].set_xlabel(f"largest probability {maps.edges[index].max():.2f}", fontsize=6.2, labelpad=2)
            draw_contour(axis_row[-1], truth, TRUTH | {"linewidth": 0.8})
    handles = contour_legend("prediction")
    if maps.edges is not None:
        handles.append(Line2D([], [], color=INK, marker="s", linestyle="", label="edge probability 1 (white: 0)"))
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), fontsize=7, borderaxespad=0.2)
    return figure, shown


def _boundary_f1(row: Result, image: str) -> float:
    frame = row.frames[0]
    return float(frame.loc[frame["image"] == image, "boundary_f1"].iloc[0])
