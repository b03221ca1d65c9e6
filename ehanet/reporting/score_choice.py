"""What the choice of score does: the same predictions under our evaluation and under the released one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from ehanet.reporting.artefacts import make_record
from ehanet.reporting.results import mark_of, read_results, read_together
from ehanet.reporting.style import INK, MUTED, WIDTH, Look, figure_style, looks, plt, save_figure, stamp
from ehanet.reporting.tables import Column, Score, Table, write_table
from ehanet.reporting.tracks import track_column, tracks_of
from ehanet.reporting.wording import dataset_title

MODULES = ["ehanet.reporting.score_choice"]
# evaluation of ehanet.metrics.released.score_choice -> marker and fill of its dot; names as that table has them
DOTS = {"ours": ("o", True), "threshold 0.62": ("v", False), "pooled batches": ("s", False), "row-wise Hausdorff": ("D", False), "released": ("o", False)}
PANELS = {"dice": "Dice", "iou": "IoU", "hausdorff": "Hausdorff distance, px"}
SHOWN = {"dice": ("ours", "threshold 0.62", "pooled batches", "released"), "iou": ("ours", "threshold 0.62", "pooled batches", "released"),
         "hausdorff": ("ours", "threshold 0.62", "released")}


def score_choice_report(reports: str | Path, dataset: str) -> Table:
    """Write tables/score_choice_<dataset> and figures/score_choice_<dataset> from scores/<dataset>/score_choice.csv.

    Raises:
        FileNotFoundError, ValueError: scores are missing or damaged; the message names the file.
    """
    reports = Path(reports)
    every = read_results(reports, dataset)
    rows = [row for row in every if row.frames]
    means = mean_choices(reports, dataset)
    inputs = {"inputs": [record["id"] for row in rows for record in row.records]}
    mark, title = mark_of(rows), dataset_title(dataset)
    columns = [Column("title", "Method"), Column("label", "Label", shown=False), track_column(rows)]
    track = tracks_of(rows)
    for score, name in PANELS.items():
        digits = 2 if score == "hausdorff" else 3
        columns += [Column(f"{score}_{evaluation}".replace(" ", "_"), f"{name.split(',')[0]}, {evaluation}", "score", digits) for evaluation in SHOWN[score]]
    columns.append(Column("mark", "Mark"))
    body = [{"title": row.title, "label": row.label, "track": track[row.label], "mark": mark}
            | {f"{score}_{evaluation}".replace(" ", "_"): Score(float(means.loc[(row.label, evaluation), score])) for score in PANELS for evaluation in SHOWN[score]}
            for row in rows] + [row.empty_cells for row in every if not row.frames]
    notes = ["Ours: probability > 0.5, each image scored, then the mean. Threshold 0.62: logit > 0.5. Pooled batches: Dice and IoU over the pixels of 16 images"
             " together, then the mean over batches. Released: both, and a Hausdorff distance that takes the rows of a mask as points.",
             "Means over seeds. The released Hausdorff value is the root of a number of pixels, not a distance: it cannot be compared with ours."]
    table = Table(f"score_choice_{dataset}", f"{title}: the same predictions under our evaluation and the released one", mark, columns, body, notes)
    write_table(table, reports / "tables", MODULES, **inputs)
    figure_path = reports / "figures" / f"score_choice_{dataset}"
    record = make_record(figure_path, "figure", MODULES, mark=mark, **inputs)
    with figure_style():
        save_figure(_draw(looks({row.label: row.method for row in rows}), means, title, mark), figure_path, record, f"Choice of score on {title}")
    return table


def mean_choices(reports: Path, dataset: str) -> pd.DataFrame:
    """(label, evaluation) -> mean Dice, IoU and Hausdorff distance (pixels) over seeds; ``FileNotFoundError`` and ``ValueError`` as :func:`score_choice_report`."""
    keys = ["label", "evaluation"]
    return read_together(reports, dataset, "score_choice.csv", [*keys, *PANELS]).groupby(keys)[list(PANELS)].mean()


def _draw(styles: dict[str, Look], means: pd.DataFrame, title: str, mark: str) -> Figure:
    """One panel a score, one line a method, from our evaluation (filled) to the released one (open)."""
    height = 1.35 + 0.3 * max(len(styles), 2)
    figure, axes = plt.subplots(1, len(PANELS), figsize=(WIDTH, height), sharey=True, layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0.28 / height, 1, 1 - 0.58 / height), w_pad=0.06)
    for axis, (score, name) in zip(axes, PANELS.items()):
        for place, (label, style) in enumerate(styles.items()):
            values = means.loc[label, score]
            axis.plot([values["ours"], values["released"]], [place, place], color=style.colour, linewidth=1.4, zorder=2)
            for evaluation in SHOWN[score]:
                marker, filled = DOTS[evaluation]
                axis.plot(values[evaluation], place, marker=marker, color=style.colour, markersize=5.5, linestyle="",
                          markerfacecolor=style.colour if filled else "white", zorder=4 if filled else 3)
        axis.set_title(name)
        axis.grid(axis="y", visible=False)
        axis.margins(x=0.12)
    axes[0].set_yticks(range(len(styles)), [style.title for style in styles.values()])
    axes[0].set_ylim(len(styles) - 0.4, -0.6)
    handles = [plt.Line2D([], [], color=INK, marker=DOTS[evaluation][0], linestyle="", markersize=5.5,
                          markerfacecolor=INK if DOTS[evaluation][1] else "white", label=evaluation) for evaluation in SHOWN["dice"]]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), bbox_to_anchor=(0.5, 0.0))
    figure.text(0.06 / WIDTH, 1 - 0.06 / height, f"{title}: the same predictions, scored in different ways", ha="left", va="top", fontsize=7.5, color=MUTED)
    stamp(figure, mark)
    return figure
