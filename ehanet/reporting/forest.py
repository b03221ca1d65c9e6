"""A forest plot: what each change does to a score, against one row that all are compared with."""

from __future__ import annotations

import math
import textwrap
from typing import NamedTuple

from matplotlib.figure import Figure

from ehanet.reporting.style import BLUE, INK, MUTED, VERMILLION, WIDTH, panels_across, plt, stamp
from ehanet.reporting.tables import Score


class Change(NamedTuple):
    """One row: its name and, for each panel's score, the difference with its interval (NaN where there is none)."""

    title: str
    differences: dict[str, Score]


def draw_forest(changes: list[Change], panels: dict[str, str], heading: str, mark: str, one_scale: bool = False) -> Figure:
    """One panel a score, one row a change, the dashed line at no difference.

    Filled markers: the interval leaves out zero. Open: it does not, so the change may be chance. A cross has no interval.

    Args:
        panels: score -> the panel's title; a row without the score has an empty place there.
        one_scale: the panels share the scale of their differences.
    """
    across = panels_across(len(panels))
    down = math.ceil(len(panels) / across)
    height = 0.54 + down * (0.51 + 0.25 * max(len(changes), 2))
    figure, axes = plt.subplots(down, across, figsize=(WIDTH, height), sharex=one_scale, sharey=True, layout="constrained", squeeze=False)
    figure.get_layout_engine().set(rect=(0, 0.24 / height, 1, 1 - 0.54 / height), w_pad=0.06)
    for axis in axes.flat[len(panels):]:
        axis.set_axis_off()
    for axis, (score, name) in zip(axes.flat, panels.items()):
        axis.axvline(0, color=INK, linestyle=(0, (3, 3)), linewidth=0.8, zorder=1)
        for place, change in enumerate(changes):
            if score in change.differences:
                _draw_change(axis, change.differences[score], place, 4 if one_scale else 5.5)  # a large marker hides a short interval
        axis.set_title(textwrap.fill(name, 60 // across, break_on_hyphens=False))
        axis.grid(axis="y", visible=False)
        axis.margins(x=0.12)
        axis.locator_params(axis="x", nbins=4)  # so that long numbers do not touch
    axes[0, 0].set_yticks(range(len(changes)), [change.title for change in changes])
    axes[0, 0].set_ylim(len(changes) - 0.4, -0.6)
    figure.text(0.06 / WIDTH, 1 - 0.06 / height, heading, ha="left", va="top", fontsize=7.5, color=MUTED)
    figure.text(0.5, 0.06 / height, "left: lower, right: higher; bar: 95 % bootstrap interval; filled: clear of zero, open: may be chance, cross: no interval",
                ha="center", va="bottom", fontsize=6.5, color=MUTED)
    stamp(figure, mark)
    return figure


def _draw_change(axis, score: Score, place: int, size: float) -> None:
    colour = VERMILLION if score.mean < 0 else BLUE
    if math.isnan(score.low):
        axis.plot(score.mean, place, marker="x", color=colour, markersize=size, linestyle="", zorder=3)
        return
    clear = score.low > 0 or score.high < 0
    axis.plot([score.low, score.high], [place, place], color=colour, linewidth=1.6, solid_capstyle="round", zorder=2)
    axis.plot(score.mean, place, marker="o", color=colour, markersize=size, markerfacecolor=colour if clear else "white", linestyle="", zorder=3)
