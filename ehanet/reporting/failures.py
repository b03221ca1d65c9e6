"""The failure atlas: the worst images of a data set and what went wrong in them, decided by a rule (``ehanet.metrics.contours``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ehanet.data import Dataset
from ehanet.metrics.contours import KINDS, error_kinds, kind_shares, main_kind
from ehanet.metrics.regions import binarise
from ehanet.reporting.artefacts import make_record
from ehanet.reporting.overlays import PREDICTION, TRUTH, contour_legend, display_note, draw_contour, picture_grid, places_of, read_maps, shortened, show
from ehanet.reporting.results import Result, find_reference, mark_of, read_results
from ehanet.reporting.style import BACKGROUND, FOUND, INK, MISSED, MUTED, PURPLE, SPURIOUS, WIDTH, figure_style, headline, look, plt, save_figure, stamp
from ehanet.reporting.tables import Column, Score, Table, write_table
from ehanet.reporting.tracks import track_column, tracks_of
from ehanet.reporting.wording import dataset_title, trained_encoders

MODULES = ["ehanet.reporting.failures"]
WORST = 10  # images of the atlas, in rows of half as many
COLOURS = {"missed": MISSED, "spurious": SPURIOUS, "boundary": PURPLE}
HATCHES = {"missed": "", "spurious": "////", "boundary": "...."}  # of the bars, for grey print
FAILED = 0.5  # a Dice below this is called a failure
RULE = ("Missed: pixels of an object of which nothing was found, or deeper inside than the boundary band. Spurious: pixels of a piece that touches no object, "
        "or farther outside than the band. Boundary: all other wrong pixels. The band is 2 % of the diagonal on both sides of the contour. "
        "An image's kind is the largest share of its wrong pixels.")


def failures_report(data: Dataset, reports: str | Path) -> Table:
    """Write figures/failures_<data set> and failure_kinds_<data set> and the tables of the same names, from scores and stored maps.

    Returns the table of the worst images: those of the lowest Dice of the reference (first seed), of equal ones the first in the data set's order.

    Raises:
        FileNotFoundError, ValueError: scores or maps are missing or damaged; the message names the file.
    """
    reports = Path(reports)
    every = read_results(reports, data.name)
    rows = [row for row in every if row.frames]
    reference, mark, title = find_reference(rows), mark_of(rows), dataset_title(data.name)
    inputs = {"inputs": [record["id"] for row in rows for record in row.records], "data": data.manifest}
    maps = {row.label: read_maps(reports, row, data) for row in rows}
    shares = {label: [kind_shares(*pair) for pair in zip(binarise(found.probabilities), _labels(data, found.ids))] for label, found in maps.items()}
    worst = reference.frames[0].sort_values("dice", kind="stable").head(WORST)
    own = dict(zip(maps[reference.label].ids, shares[reference.label]))
    tables = [_worst(data, rows, reference, worst, own, mark), _kinds(data, every, shares, mark)]
    for table in tables:
        write_table(table, reports / "tables", MODULES, **inputs)
    with figure_style():
        found = maps[reference.label]
        masks = {image: binarise(found.probabilities[place:place + 1])[0] for place, image in enumerate(found.ids) if image in set(worst["image"])}
        path = reports / "figures" / f"failures_{data.name}"
        heading = f"{title}: the {len(worst)} test images with the lowest Dice of {look(reference.label, reference.method).title}, seed {reference.seeds[0]}, worst first"
        heading += display_note(data.images[places_of(data, worst["image"].tolist())])
        figure = _draw_atlas(data, tables[0], masks, heading, mark)
        save_figure(figure, path, make_record(path, "figure", MODULES, mark=mark, images=worst["image"].tolist(), **inputs), f"Worst images of {title}")
        path = reports / "figures" / f"failure_kinds_{data.name}"
        figure = _draw_kinds(tables[1], f"{title}: what the wrong pixels are, in percent of all pixels", trained_encoders(rows), mark)
        save_figure(figure, path, make_record(path, "figure", MODULES, mark=mark, **inputs), f"Kinds of error on {title}")
    return tables[0]


def _labels(data: Dataset, ids: list[str]) -> np.ndarray:
    return data.masks[places_of(data, ids)].astype(bool)


def _worst(data: Dataset, rows: list[Result], reference: Result, worst, shares: dict[str, dict], mark: str) -> Table:
    others = [row for row in rows if row.method != reference.method]
    columns = [Column("rank", "Rank", "count"), Column("image", "Image"), Column("dice", "Dice", "score"), Column("hd95", "HD95 (px)", "score", 1),
               Column("area", "Object, % of image", "score", 1), Column("kind", "Mainly"),
               *[Column(kind, f"{kind.capitalize()}, %", "score", 0) for kind in KINDS], Column("others", "Best other Dice", "score", shown=bool(others))]
    body = []
    for rank, (_, scores) in enumerate(worst.iterrows(), start=1):
        image = scores["image"]
        best = [float(row.frames[0].set_index("image").loc[image, "dice"]) for row in others]
        body.append({"rank": rank, "image": image, "dice": Score(float(scores["dice"])), "hd95": Score(float(scores["hd95"])),
                     "area": Score(100 * float(_labels(data, [image]).mean())), "kind": main_kind(shares[image]),
                     **{kind: Score(100 * share) for kind, share in shares[image].items()}, "others": Score(max(best)) if best else None})
    counts = {kind: sum(row["kind"] == kind for row in body) for kind in (*KINDS, "none")}
    said = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    notes = [f"What these {len(body)} images are mainly: {said}.", RULE]
    if others:
        hard = sum(row["others"].mean < FAILED for row in body)
        notes.append(f"Best other Dice: of the other networks in the tables, on this image; in {hard} of the {len(body)} images none of them reaches {FAILED}.")
    name = look(reference.label, reference.method).title
    return Table(f"failures_{data.name}", f"{dataset_title(data.name)}: the test images with the lowest Dice of {name}", mark, columns, body, notes)


def _kinds(data: Dataset, rows: list[Result], shares: dict[str, list[dict]], mark: str) -> Table:
    columns = [Column("title", "Method"), Column("label", "Label", shown=False), Column("method", "Network", shown=False), track_column(rows),
               Column("wrong", "Wrong pixels, %", "score", 2), *[Column(kind, f"of them {kind}, %", "score", 0) for kind in KINDS],
               *[Column(f"images_{kind}", f"Images {kind}" if kind != "none" else "without error", "count") for kind in (*KINDS, "none")],
               Column("failed", f"Dice below {FAILED}", "count"), Column("mark", "Mark")]
    body, track = [], tracks_of(rows)
    for row in rows:
        if not row.frames:
            body.append(row.empty_cells)
            continue
        frame, mine = row.frames[0], shares[row.label]
        wrong = 1 - frame["accuracy"].to_numpy()
        total = {kind: float(np.sum(wrong * [share[kind] for share in mine])) for kind in KINDS}
        kinds = [main_kind(share) for share in mine]
        body.append({"title": look(row.label, row.method).title, "label": row.label, "method": row.method, "track": track[row.label], "wrong": Score(100 * float(wrong.mean())),
                     **{kind: Score(100 * value / max(wrong.sum(), 1e-12)) for kind, value in total.items()},
                     **{f"images_{kind}": kinds.count(kind) for kind in (*KINDS, "none")}, "failed": int((frame["dice"] < FAILED).sum()), "mark": mark})
    return Table(f"failure_kinds_{data.name}", f"{dataset_title(data.name)}: what goes wrong, by method (first seed)", mark, columns, body, [RULE])


def _draw_atlas(data: Dataset, table: Table, masks: dict[str, np.ndarray], heading: str, mark: str) -> Figure:
    """Of each image two cells, one above the other: the contours on the image, and its wrong pixels in colour."""
    columns = -(-len(table.rows) // 2)
    bands = -(-len(table.rows) // columns)
    figure, axes = picture_grid(2 * bands, columns, heading, mark, [], margin=0.08, line=0.24)
    palette = np.array([to_rgb(colour) for colour in (BACKGROUND, *COLOURS.values(), FOUND)])
    for axis in axes.ravel():
        axis.set_visible(False)
    for number, row in enumerate(table.rows):
        band, column = divmod(number, columns)
        above, below = axes[2 * band, column], axes[2 * band + 1, column]
        prediction, truth = masks[row["image"]], _labels(data, [row["image"]])[0]
        kinds = error_kinds(prediction, truth)
        above.set_visible(True)
        below.set_visible(True)
        show(above, data.images[places_of(data, [row["image"]])[0]], f"{row['rank']}. {shortened(row['image'])}\nDice {row['dice'].mean:.2f}")
        draw_contour(above, truth, TRUTH)
        draw_contour(above, prediction, PREDICTION, beside=truth)
        share = f" {row[row['kind']].mean:.0f} %" if row["kind"] in KINDS else ""
        show(below, palette[np.where(prediction & truth, len(palette) - 1, kinds)], f"{row['kind']}{share}")
        draw_contour(below, truth, {"color": INK, "linestyle": "-", "linewidth": 0.5}, halo=False)
    handles = contour_legend("prediction") + [Patch(facecolor=FOUND, label="found")]
    handles += [Patch(facecolor=colour, label=kind) for kind, colour in COLOURS.items()] + [Line2D([], [], color=INK, linewidth=0.8, label="truth, in the map of errors")]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), fontsize=6.8, handlelength=1.6, columnspacing=1.3, borderaxespad=0.2)
    return figure


def _draw_kinds(table: Table, heading: str, trained: str, mark: str) -> Figure:
    """One stacked bar a method."""
    rows = [row for row in table.rows if row.get("wrong") is not None]
    heading, more = headline(heading, trained)
    head = 0.3 + more
    height = 0.65 + head + 0.24 * max(len(rows), 2)
    figure, axis = plt.subplots(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - head / height))
    left = np.zeros(len(rows))
    for kind in KINDS:
        widths = np.array([row["wrong"].mean * row[kind].mean / 100 for row in rows])
        axis.barh(range(len(widths)), widths, left=left, color=COLOURS[kind], hatch=HATCHES[kind], edgecolor="white", linewidth=0.6, height=0.66, label=kind)
        left += widths
    axis.set_yticks(range(len(rows)), [row["title"] for row in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlabel("wrong pixels, % of all pixels")
    axis.grid(axis="y", visible=False)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handleheight=1.4)
    figure.text(0.06 / WIDTH, 1 - 0.06 / height, heading, ha="left", va="top", fontsize=7.5, color=MUTED)
    stamp(figure, mark)
    return figure
