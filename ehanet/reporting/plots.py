"""The plot of scores: means with intervals above every image's value."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ehanet.reporting.results import Result
from ehanet.reporting.style import INK, MUTED, WIDTH, looks, plt, stamp

PANELS = {"dice": "Dice", "boundary_f1": "Boundary F1, 2 px", "hd95": "HD95, px (lower: better)"}

HEAD = 0.6  # of a row, for the name of a track


def draw_scores(tracks: dict[str, list[Result]], statistics: dict[str, pd.DataFrame], references: dict[str, Result], title: str, mark: str) -> Figure:
    """One panel a score: each image a dot, the mean a marker with its 95 % interval, the reference's mean a dashed line.

    Args:
        tracks: track -> results with scores; the tracks stand one below the other, their rows by falling mean Dice.
        statistics: score -> table of ``ehanet.metrics.statistics.compare``, indexed by label.
        references: track -> the row that the others are compared with.
    """
    groups = {track: sorted(rows, key=lambda row: -statistics["dice"].loc[row.label, "mean"]) for track, rows in tracks.items()}
    heads = HEAD if len(groups) > 1 else 0.0  # rows that a track's name takes
    rows, places, spans = [], [], {}
    for track, own in groups.items():
        start = (places[-1] + 1 if places else 0) + heads
        spans[track] = (start - 0.45, start + len(own) - 0.55)
        rows, places = rows + own, places + [start + number for number in range(len(own))]
    styles = looks({row.label: row.method for own in tracks.values() for row in own})  # by the table's order, as in the other figures
    bottom = places[-1] + 0.6
    height = 0.95 + 0.3 * max(bottom + 0.4, 2)
    figure, axes = plt.subplots(1, len(PANELS), figsize=(WIDTH, height), sharey=True, layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0.0, 1, 1 - 0.3 / height), w_pad=0.06)
    for axis, (score, label) in zip(axes, PANELS.items()):
        means = statistics[score]
        for track, span in spans.items():
            axis.plot([means.loc[references[track].label, "mean"]] * 2, span, color=INK, linestyle=(0, (3, 3)), linewidth=0.8, zorder=1)
        for place, row in zip(places, rows):
            style = styles[row.label]
            values = row.frames[0][score].to_numpy(dtype=float)
            axis.scatter(values, place + _spread(len(values)), s=5, color=style.colour, alpha=0.22, linewidths=0, zorder=2)
            mean, low, high = means.loc[row.label, ["mean", "low", "high"]].astype(float)
            axis.plot(mean, place, marker=style.marker, color=style.colour, markersize=6.2 * style.scale, markeredgecolor="white", markeredgewidth=0.9, zorder=3)
            axis.plot([low, high], [place, place], color=INK, linewidth=1.0, marker="|", markersize=5, markeredgewidth=1.0, zorder=4)  # seen on top of a wide marker
        axis.set_title(label)
        axis.grid(axis="y", visible=False)
        axis.set_xlim(*((0, None) if score == "hd95" else (-0.02, 1.02)))
    axes[0].set_yticks(places, [row.title for row in rows])
    axes[0].set_ylim(bottom, -0.6)
    for text, row in zip(axes[0].get_yticklabels(), rows):
        text.set_fontweight("bold" if any(row is reference for reference in references.values()) else "normal")
    if heads:
        for track, (top, _) in spans.items():
            axes[0].annotate(track, (0, top - 0.3), xytext=(4, 0), xycoords=axes[0].get_yaxis_transform(), textcoords="offset points", va="center",
                             fontsize=7, color=MUTED, style="italic")
    dashed = " and ".join(row.title for row in references.values())
    figure.text(0.06 / WIDTH, 1 - 0.06 / height, f"{title}: mean and 95 % interval, one dot an image, dashed: {dashed}",
                ha="left", va="top", fontsize=7.5, color=MUTED)
    stamp(figure, mark)
    return figure


def _spread(count: int) -> np.ndarray:
    """Heights for dots of one row, the same at every call: golden-ratio steps fill the band evenly."""
    return 0.3 * (2 * ((np.arange(count) * 0.618034) % 1) - 1)
