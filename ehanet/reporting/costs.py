"""Costs on one data set's terms: the table of what ``ehanet.cost`` measured, and Dice against cost."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FuncFormatter, NullLocator
from matplotlib.transforms import Bbox

from ehanet.config import RunConfig
from ehanet.records import read_record
from ehanet.reporting.artefacts import make_record
from ehanet.reporting.results import Result, mark_of, read_results
from ehanet.reporting.style import FAINT, MUTED, WIDTH, figure_style, headline, looks, plt, save_figure, stamp
from ehanet.reporting.tables import Column, Score, Table, write_table
from ehanet.reporting.tracks import compare_tracks, track_column, tracks_of
from ehanet.reporting.wording import common, dataset_title, deviations, trained_encoders

MODULES = ["ehanet.reporting.costs"]
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)
FINE_TICKS = (0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 30, 50, 70, 100, 150, 200)  # where fewer than three of those show
PANELS = {"gmac": "GMAC at 256 × 256", "millions": "parameters, million"}
LEGEND_COLUMNS = 4


def configurations(reports: str | Path, dataset: str) -> list[RunConfig]:
    """How each scored row of a data set was configured, in its first seed."""
    return [RunConfig.from_dict(row.config) for row in read_results(reports, dataset) if row.frames]


def cost_report(reports: str | Path, dataset: str, measured: list[dict]) -> Table:
    """Write tables/cost_<dataset> and figures/cost_<dataset>, Dice against GMAC and parameters; returns the table.

    Args:
        measured: of ``ehanet.cost.measure_costs``, one a label of ``reports``/scores/<dataset>/; a row without gets "not measured". Where a network
            lacks its weights file, the measurement that the report holds already stays, whole, if it has every row: rows of two would not compare.

    Raises:
        FileNotFoundError, ValueError: scores are missing or damaged; the message names the file.
    """
    reports = Path(reports)
    rows = read_results(reports, dataset)
    scored = [row for row in rows if row.frames]
    if any(cost.get("reason", "").startswith("not measured: FileNotFoundError") for cost in measured):
        measured = _measured_before(reports / "tables" / f"cost_{dataset}.json", {cost["label"] for cost in measured}) or measured
    costs = {cost["label"]: cost for cost in measured}
    sources = {"inputs": [record["id"] for row in scored for record in row.records], "about": {"measured": measured}}
    table = _table(dataset, rows, costs)
    write_table(table, reports / "tables", MODULES, **sources)
    drawn = [row for row in scored if "gmac" in costs.get(row.label, {})]
    if drawn:
        means = compare_tracks(rows, "dice")
        points = [(row, Score(*(float(means.loc[row.label, key]) for key in ("mean", "low", "high"))), costs[row.label]) for row in drawn]
        path = reports / "figures" / f"cost_{dataset}"
        record = make_record(path, "figure", MODULES, mark=mark_of(rows), **sources)
        with figure_style():
            save_figure(_draw(points, dataset_title(dataset), mark_of(rows)), path, record, f"Dice against cost on {dataset_title(dataset)}")
    return table


def _measured_before(path: Path, labels: set[str]) -> list[dict]:
    """What the table of this record was made of, if it has measured all ``labels``; else nothing."""
    try:
        measured = read_record(path)["about"]["measured"]
    except (OSError, ValueError, KeyError):
        return []
    return measured if labels <= {cost["label"] for cost in measured if "gmac" in cost} else []


def _table(dataset: str, rows: list[Result], costs: dict[str, dict]) -> Table:
    found = [cost for cost in costs.values() if "gmac" in cost]
    side, precision, device = (common([cost[key] for cost in found]) for key in ("side", "precision", "device"))
    columns = [Column("title", "Method"), Column("label", "Label", shown=False), Column("method", "Network", shown=False),
               track_column(rows), Column("millions", "Parameters (M)", "value"),
               Column("parameters", "parameters", "count", shown=False), Column("gmac", "GMAC", "value"), Column("memory_mb", "Training memory (MB)", "count"),
               Column("rate_1", "Images/s, batch 1", "value"), Column("rate_best", "Images/s, best", "value"), Column("batch_best", "Best batch", "count"),
               Column("side", "Side (px)", "count", shown=False), Column("precision", "Precision", shown=False), Column("device", "Machine", shown=False),
               Column("mark", "Mark")]
    body, track = [], tracks_of(rows)
    for row in rows:
        cost = costs.get(row.label, {"reason": "not measured"})
        if not row.frames or "reason" in cost:
            body.append(row.empty_cells | ({"mark": cost["reason"]} if row.frames else {}))
            continue
        body.append({**cost, "title": row.title, "track": track[row.label], "millions": f"{cost['parameters'] / 1e6:.2f}", "gmac": f"{cost['gmac']:.2f}", "rate_1": _two_digits(cost["rate_1"]),
                     "rate_best": _two_digits(cost["rate_best"]), "mark": mark_of(rows)})
    notes = ["Parameters: those that an output depends on (map, side map or edge), frozen or not. GMAC: one image of 256 × 256 pixels; convolutions, linear layers and attention products.",
             f"Speed: inference at {side} × {side} pixels in {precision} on {device}, all rows in one run, one after another; best: the batch of 1, 4, 16 or 64"
             " with most images a second, larger ones tried while that helps and a batch takes less than a second; two digits, since the same networks measured twice on one machine of two cores differed by up to 16 %. Memory: peak of a training step of 4 images of that size, network included,"
             " without the optimizer's state.", *deviations(rows)]
    return Table(f"cost_{dataset}", f"{dataset_title(dataset)}: cost of the networks, measured on {device}", mark_of(rows), columns, body, notes)


def _two_digits(rate: float) -> str:
    """As far as another measurement agrees, nearly: 27.0 -> "27", 5.86 -> "5.9", 431.2 -> "430"."""
    after = 1 - math.floor(math.log10(rate))
    return f"{round(rate, after):.{max(after, 0)}f}"


def _draw(points: list[tuple[Result, Score, dict]], title: str, mark: str) -> Figure:
    """Mean Dice against each of PANELS, every method by its number in the legend below."""
    legend = 0.12 + 0.16 * -(-len(points) // LEGEND_COLUMNS)  # inches
    styles = looks({row.label: row.method for row, _, _ in points})
    heading, more = headline(f"{title}: Dice against cost; up and to the left is better", trained_encoders([row for row, _, _ in points]))
    head = 0.3 + more
    height = 3.3 + head + legend
    figure, axes = plt.subplots(1, len(PANELS), figsize=(WIDTH, height), sharey=True, layout="constrained")
    figure.get_layout_engine().set(rect=(0, legend / height, 1, 1 - (legend + head) / height), w_pad=0.06)
    for axis, (key, label) in zip(axes, PANELS.items()):
        values = [cost["gmac"] if key == "gmac" else cost["parameters"] / 1e6 for _, _, cost in points]
        for (row, dice, _), value in zip(points, values):
            style = styles[row.label]
            axis.errorbar(value, dice.mean, [[dice.mean - dice.low], [dice.high - dice.mean]], color=FAINT, linewidth=1, zorder=1)
            axis.scatter(value, dice.mean, s=34 * style.scale**2, marker=style.marker, color=style.colour, edgecolors="white", linewidths=0.8, zorder=3)
        axis.set_xscale("log")
        axis.margins(x=0.1, y=0.08)
        axis.set_xlabel(f"{label} (logarithmic)")
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_locator(NullLocator())
        shown, fine = ([tick for tick in ticks if axis.get_xlim()[0] <= tick <= axis.get_xlim()[1]] for ticks in (TICKS, FINE_TICKS))
        axis.set_xticks(shown if len(shown) > 2 else fine)
    axes[0].set_ylabel("mean Dice, 95 % interval")
    figure.text(0.06 / WIDTH, 1 - 0.06 / height, heading, ha="left", va="top", fontsize=7.5, color=MUTED)
    stamp(figure, mark)
    handles = []
    for number, (row, _, _) in enumerate(points, start=1):
        style = styles[row.label]
        handles.append(plt.Line2D([], [], color=style.colour, marker=style.marker, linestyle="", markersize=5 * style.scale, label=f"{number}  {row.title}"))
    figure.legend(handles=handles, loc="lower center", ncols=LEGEND_COLUMNS, fontsize=7, handletextpad=0.2, columnspacing=1.2, labelspacing=0.35, borderaxespad=0.2)
    for axis, key in zip(axes, PANELS):
        _place_labels(axis, [(str(number), cost["gmac"] if key == "gmac" else cost["parameters"] / 1e6, dice.mean)
                             for number, (_, dice, cost) in enumerate(points, start=1)])
    return figure


def _place_labels(axis, points: list[tuple[str, float, float]]) -> None:
    """Each number where it covers no marker, no other number and no edge: near its marker if there is room, else on a leader line."""
    figure = axis.figure
    figure.canvas.draw()
    figure.get_layout_engine().execute(figure)
    renderer, scale = figure.canvas.get_renderer(), figure.dpi / 72
    centres = [axis.transData.transform(point[1:]) for point in points]
    taken = [Bbox.from_bounds(x - 4.5 * scale, y - 4.5 * scale, 9 * scale, 9 * scale) for x, y in centres]
    for name, x, y in sorted(points, key=lambda point: -point[2]):
        for distance, (dx, dy), (across, up) in _PLACES:
            text = axis.annotate(name, (x, y), xytext=(dx * distance, dy * distance), textcoords="offset points", ha=across, va=up, fontsize=6.5, zorder=4,
                                 arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4} if distance > 12 else None)
            box = _text_box(text, renderer)
            if axis.bbox.x0 < box.x0 and box.x1 < axis.bbox.x1 and axis.bbox.y0 < box.y0 and box.y1 < axis.bbox.y1 and not box.count_overlaps(taken):
                break
            text.remove()
        else:
            text = axis.annotate(name, (x, y), xytext=(8, 0), textcoords="offset points", va="center", fontsize=6.5, zorder=4)
            box = _text_box(text, renderer)
        taken.append(box)


def _text_box(text: Annotation, renderer) -> Bbox:
    """Where a number stands, without its leader line; numbers never move the axes."""
    text.set_in_layout(False)
    text.update_positions(renderer)
    return Text.get_window_extent(text, renderer)


_SIDES = [((1, 0), ("left", "center")), ((-1, 0), ("right", "center")), ((0, 1), ("center", "bottom")), ((0, -1), ("center", "top")),
          ((0.8, 0.8), ("left", "bottom")), ((0.8, -0.8), ("left", "top")), ((-0.8, 0.8), ("right", "bottom")), ((-0.8, -0.8), ("right", "top"))]
_PLACES = [(distance, *side) for distance in (6, 9, 12, 20, 30) for side in _SIDES]  # points from the marker, nearest first
