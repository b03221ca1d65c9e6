"""What the edge branch does: boundary scores with and without IEM, image by image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ehanet.data import Dataset
from ehanet.metrics.scores import LOWER_IS_BETTER
from ehanet.metrics.statistics import collect, compare, paired_differences
from ehanet.reporting.artefacts import discard, make_record
from ehanet.reporting.results import Result, find_reference, mark_of, read_results, without_part
from ehanet.reporting.style import INK, MUTED, VERMILLION, WIDTH, figure_style, look, plt, save_figure, stamp
from ehanet.reporting.tables import Column, Score, Table, write_table
from ehanet.reporting.wording import dataset_title, p_in_words

MODULES = ["ehanet.reporting.iem"]
SCORES = {"dice": "Dice", "boundary_f1": "Boundary F1", "boundary_iou": "Boundary IoU", "nsd_2": "NSD at 2 px", "hd95": "HD95, px", "assd": "ASSD, px"}
PANELS = ("boundary_f1", "hd95")


def iem_report(data: Dataset, reports: str | Path) -> Table | None:
    """Write tables/iem_<data set> and figures/iem_<data set>; None, and no such files left, where the row without IEM was not run.

    Raises:
        FileNotFoundError, ValueError: scores are missing or damaged; the message names the file.
    """
    reports = Path(reports)
    rows = [row for row in read_results(reports, data.name) if row.frames]
    reference = find_reference(rows, lambda row: without_part(row, rows, "iem"))
    bare = without_part(reference, rows, "iem")
    if bare is None:
        discard(*(reports / folder / f"iem_{data.name}" for folder in ("tables", "figures")))
        return None
    frames = {"without": bare.frames, "with": reference.frames}
    title, mark = dataset_title(data.name), mark_of(rows)
    inputs = {"inputs": [record["id"] for row in (reference, bare) for record in row.records]}
    values = {score: collect(frames, score).values for score in SCORES}
    table = _table(data.name, frames, values, (bare, reference), mark)
    write_table(table, reports / "tables", MODULES, **inputs)
    path = reports / "figures" / f"iem_{data.name}"
    with figure_style():
        figure = _draw(values, {row["key"]: row["difference"] for row in table.rows}, f"{title}: each test image with and without IEM", mark)
        save_figure(figure, path, make_record(path, "figure", MODULES, mark=mark, **inputs), f"With and without IEM on {title}")
    return table


def image_counts(without: np.ndarray, with_iem: np.ndarray, lower: bool) -> tuple[int, int, int]:
    """How many images IEM makes better, worse, and leaves as they are (to 1e-9); images without a value count nowhere."""
    gain = (without - with_iem if lower else with_iem - without)
    return int((gain > 1e-9).sum()), int((gain < -1e-9).sum()), int((np.abs(gain) <= 1e-9).sum())


def _table(dataset: str, frames: dict, values: dict[str, np.ndarray], pair: tuple[Result, Result], mark: str) -> Table:
    names = [look(row.label, row.method).title for row in pair]
    columns = [Column("score", "Score"), Column("key", "key", shown=False), Column("with", names[1], "score"), Column("without", names[0], "score"),
               Column("difference", "Difference", "score"), Column("p", "p", "value"), Column("better", "Images better", "count"),
               Column("worse", "worse", "count"), Column("equal", "equal", "count")]
    body, clear = [], []
    for score, title in SCORES.items():
        compared = compare(frames, score, "without").set_index("method")
        found = paired_differences(frames, score, "without").loc["with"]
        lower = score in LOWER_IS_BETTER
        counts = image_counts(*values[score], lower)
        difference = Score(*(float(found[key]) for key in ("difference", "low", "high")))
        p = float(compared.loc["with", "p_permutation"])
        body.append({"score": title + (" (lower is better)" if lower else ""), "key": score, "difference": difference,
                     **{side: Score(*(float(compared.loc[side, key]) for key in ("mean", "low", "high"))) for side in frames},
                     "p": p_in_words(p), **dict(zip(("better", "worse", "equal"), counts))})
        if difference.low > 0 or difference.high < 0:
            clear.append(f"{title} ({'better' if (difference.mean < 0) == lower else 'worse'} with IEM)")
    notes = ["Difference: with IEM minus without, image by image (mean over seeds first), with its 95 % bootstrap interval. p: paired permutation test, not corrected.",
             f"Clear of zero: {', '.join(clear)}." if clear else "No interval of a difference leaves out zero: on these images the two cannot be told apart.",
             _seeds_note(pair)]
    return Table(f"iem_{dataset}", f"{dataset_title(dataset)}: EHANet with and without IEM", mark, columns, body, notes)


def _seeds_note(pair: tuple[Result, Result]) -> str:
    seeds = min(len(row.seeds) for row in pair)
    return ("Intervals and tests speak of other test images, not of another training"
            + (", of which there was one each." if seeds == 1 else f", of which there were {seeds} each."))


def _draw(values: dict[str, np.ndarray], differences: dict[str, Score], heading: str, mark: str) -> Figure:
    height = 3.5
    figure, axes = plt.subplots(1, len(PANELS), figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - 0.3 / height), w_pad=0.12)
    for axis, score in zip(axes, PANELS):
        without, with_iem = values[score]
        low, high = 0, 1.02 if score not in LOWER_IS_BETTER else max(1.0, float(np.nanmax(values[score])) * 1.03)
        axis.plot([low, high], [low, high], color=INK, linewidth=0.8, linestyle=(0, (3, 3)))
        axis.plot(without, with_iem, "o", color=VERMILLION, markersize=4.5, markerfacecolor="none", markeredgewidth=1.0, alpha=0.85)
        axis.set(xlabel=f"{SCORES[score]}, without IEM", ylabel=f"{SCORES[score]}, with IEM", xlim=(low, high), ylim=(low, high), aspect="equal")
        better, worse = (("top left", "bottom right") if score not in LOWER_IS_BETTER else ("bottom right", "top left"))
        for words, corner in (("better with IEM", better), ("worse with IEM", worse)):
            x, y = (0.03, 0.97) if corner == "top left" else (0.97, 0.03)
            axis.text(x, y, words, transform=axis.transAxes, ha="left" if x < 0.5 else "right", va="top" if y > 0.5 else "bottom", fontsize=7, color=MUTED)
        found = differences[score]
        digits = 2 if score == "hd95" else 3
        axis.set_title(f"{SCORES[score]}: {found.mean:+.{digits}f} [{found.low:+.{digits}f}, {found.high:+.{digits}f}]".replace("-", "−"))
    figure.text(0.06 / WIDTH, 1 - 0.06 / height, f"{heading}; in brackets the 95 % interval of the mean difference", ha="left", va="top", fontsize=7.5, color=MUTED)
    stamp(figure, mark)
    return figure
