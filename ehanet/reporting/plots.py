"""Plots of scores: means with intervals above every image's value, and Dice against cost."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FuncFormatter, NullLocator
from matplotlib.transforms import Bbox

from ehanet.records import read_record
from ehanet.reporting.artefacts import make_record
from ehanet.reporting.results import Result
from ehanet.reporting.style import FAINT, INK, MUTED, WIDTH, figure_style, look, plt, save_figure, stamp
from ehanet.reporting.tables import Table, read_table
from ehanet.reporting.wording import dataset_title

PANELS = {"dice": "Dice", "boundary_f1": "Boundary F1, 2 px", "hd95": "HD95, px (lower: better)"}


def draw_scores(rows: list[Result], statistics: dict[str, pd.DataFrame], reference: Result, title: str, mark: str) -> Figure:
    """One panel a score: each image a dot, the mean a marker with its 95 % interval, the reference's mean a dashed line.

    Args:
        rows: results with scores; drawn by falling mean Dice.
        statistics: score -> table of ``ehanet.metrics.statistics.compare``, indexed by label.
    """
    rows = sorted(rows, key=lambda row: -statistics["dice"].loc[row.label, "mean"])
    looks = [look(row.label, row.method) for row in rows]
    height = 0.95 + 0.3 * max(len(rows), 2)
    figure, axes = plt.subplots(1, len(PANELS), figsize=(WIDTH, height), sharey=True, layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0.0, 1, 1 - 0.3 / height), w_pad=0.06)
    for axis, (score, label) in zip(axes, PANELS.items()):
        means = statistics[score]
        axis.axvline(means.loc[reference.label, "mean"], color=INK, linestyle=(0, (3, 3)), linewidth=0.8, zorder=1)
        for place, (row, style) in enumerate(zip(rows, looks)):
            values = row.frames[0][score].to_numpy(dtype=float)
            axis.scatter(values, place + _spread(len(values)), s=5, color=style.colour, alpha=0.22, linewidths=0, zorder=2)
            mean, low, high = means.loc[row.label, ["mean", "low", "high"]].astype(float)
            axis.plot([low, high], [place, place], color=INK, linewidth=1.8, solid_capstyle="round", zorder=3)
            axis.plot(mean, place, marker=style.marker, color=style.colour, markersize=6.2 * style.scale, markeredgecolor="white", markeredgewidth=0.9, zorder=4)
        axis.set_title(label)
        axis.grid(axis="y", visible=False)
        axis.set_xlim(*((0, None) if score == "hd95" else (-0.02, 1.02)))
    axes[0].set_yticks(range(len(rows)), [style.title for style in looks])
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    for text, row in zip(axes[0].get_yticklabels(), rows):
        text.set_fontweight("bold" if row is reference else "normal")
    figure.text(0.06 / WIDTH, 1 - 0.06 / height, f"{title}: mean and 95 % interval, one dot an image, dashed: {look(reference.label, reference.method).title}",
                ha="left", va="top", fontsize=7.5, color=MUTED)
    stamp(figure, mark)
    return figure


def _spread(count: int) -> np.ndarray:
    """Heights for dots of one row, the same at every call: golden-ratio steps fill the band evenly."""
    return 0.3 * (2 * ((np.arange(count) * 0.618034) % 1) - 1)


def cost_scatter(reports: str | Path, dataset: str) -> Path | None:
    """Draw figures/cost_<dataset>: mean Dice against GMAC, the parameters as size; from tables/cost.csv and the comparison's CSV.

    cost.csv has the columns label, parameters and gmac at least. Returns the PNG's path, None where cost.csv is not there
    or shares no row with the comparison.

    Raises:
        ValueError: cost.csv lacks a column.
    """
    reports = Path(reports)
    cost_path, table_path = reports / "tables" / "cost.csv", reports / "tables" / f"comparison_{dataset}.csv"
    if not cost_path.is_file() or not table_path.is_file():
        return None
    cost = pd.read_csv(cost_path)
    missing = {"label", "parameters", "gmac"} - set(cost.columns)
    if missing:
        raise ValueError(f"{cost_path} lacks the column {', '.join(sorted(missing))}; run the cost step again")
    table = read_table(table_path)
    path = reports / "figures" / f"cost_{dataset}"
    record = make_record(path, "figure", ["ehanet.reporting.plots"], mark=table.mark,
                         inputs=[read_record(table_path.with_suffix(".json"))["id"]], cost_sha256=hashlib.sha256(cost_path.read_bytes()).hexdigest())
    with figure_style():
        figure = _draw_cost(table, cost.set_index("label"), dataset_title(dataset))
        if figure is None:
            return None
        save_figure(figure, path, record, f"Dice against cost on {dataset_title(dataset)}")
    return path.with_suffix(".png")


def _draw_cost(table: Table, cost: pd.DataFrame, title: str) -> Figure | None:
    points = [(row["label"], row["method"], row["dice"], *cost.loc[row["label"], ["gmac", "parameters"]]) for row in table.rows
              if row.get("dice") is not None and row["label"] in cost.index]
    if not points:
        return None
    figure, axis = plt.subplots(figsize=(WIDTH * 0.8, 3.7), layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - 0.3 / 3.7))
    for label, method, dice, gmac, parameters in points:
        style = look(label, method)
        axis.errorbar(gmac, dice.mean, [[dice.mean - dice.low], [dice.high - dice.mean]], color=FAINT, linewidth=1, zorder=1)
        axis.scatter(gmac, dice.mean, s=(18 + 3.5 * float(parameters) / 1e6) * style.scale**2, marker=style.marker, color=style.colour, edgecolors="white", linewidths=0.8, zorder=3)
    axis.set_xscale("log")
    axis.margins(x=0.14, y=0.1)
    axis.set_xlabel("GMAC at 256 × 256 (logarithmic)")
    axis.set_ylabel("mean Dice, 95 % interval")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticks([tick for tick in (1, 2, 5, 10, 20, 50, 100, 200) if axis.get_xlim()[0] <= tick <= axis.get_xlim()[1]])
    figure.text(0.06 / figure.get_figwidth(), 1 - 0.06 / 3.7, f"{title}: Dice against cost; the larger the marker, the more parameters",
                ha="left", va="top", fontsize=7.5, color=MUTED)
    stamp(figure, table.mark)
    _place_labels(axis, [(look(label, method).title, gmac, dice.mean) for label, method, dice, gmac, _ in points])
    return figure


def _place_labels(axis, points: list[tuple[str, float, float]]) -> None:
    """Each name where it covers no marker, no other name and no edge: near its marker if there is room, else on a leader line."""
    figure = axis.figure
    figure.canvas.draw()
    figure.get_layout_engine().execute(figure)
    renderer, scale = figure.canvas.get_renderer(), figure.dpi / 72
    centres = [axis.transData.transform(point[1:]) for point in points]
    taken = [Bbox.from_bounds(x - 6 * scale, y - 6 * scale, 12 * scale, 12 * scale) for x, y in centres]
    for name, x, y in sorted(points, key=lambda point: -point[2]):
        for distance, (dx, dy), (across, up) in _PLACES:
            text = axis.annotate(name, (x, y), xytext=(dx * distance, dy * distance), textcoords="offset points", ha=across, va=up, fontsize=7, zorder=4,
                                 arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4} if distance > 12 else None)
            box = _text_box(text, renderer)
            if axis.bbox.x0 < box.x0 and box.x1 < axis.bbox.x1 and axis.bbox.y0 < box.y0 and box.y1 < axis.bbox.y1 and not box.count_overlaps(taken):
                break
            text.remove()
        else:
            text = axis.annotate(name, (x, y), xytext=(8, 0), textcoords="offset points", va="center", fontsize=7, zorder=4)
            box = _text_box(text, renderer)
        taken.append(box)


def _text_box(text: Annotation, renderer) -> Bbox:
    """Where a name stands, without its leader line; names never move the axes."""
    text.set_in_layout(False)
    text.update_positions(renderer)
    return Text.get_window_extent(text, renderer)


_SIDES = [((1, 0), ("left", "center")), ((-1, 0), ("right", "center")), ((0, 1), ("center", "bottom")), ((0, -1), ("center", "top")),
          ((0.8, 0.8), ("left", "bottom")), ((0.8, -0.8), ("left", "top")), ((-0.8, 0.8), ("right", "bottom")), ((-0.8, -0.8), ("right", "top"))]
_PLACES = [(distance, *side) for distance in (9, 12, 20, 30, 42, 56) for side in _SIDES]  # points from the marker, nearest first
