"""Pictures for notebooks: figures in the style of the reports that show themselves as PNG, without pyplot's state."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ehanet.reporting.style import FAINT, MUTED, RC, WIDTH, stamp

DPI = 110
MAP_COLOURS = "viridis"  # rises in lightness: legible to the colour-blind and in grey print
SIGNED_COLOURS = "PuOr_r"
PHANTOM = "phantom data"


class Picture(Figure):
    """A figure that a notebook shows as PNG; the same figure gives the same bytes."""

    def __init__(self, width: float, height: float):
        with matplotlib.rc_context(RC):
            super().__init__(figsize=(width, height), dpi=DPI, facecolor="white")

    def png(self) -> bytes:
        """The picture as a PNG file without a time or version in it."""
        buffer = io.BytesIO()
        with matplotlib.rc_context(RC):
            self.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()

    _repr_png_ = png

    def __repr__(self) -> str:
        width, height = (round(float(side) * self.dpi) for side in self.get_size_inches())
        return f"Picture({width} x {height} pixels, {len(self.axes)} axes)"


class Cell(NamedTuple):
    """One image of a gallery: (H, W, 3) as it is, or a map (H, W) in colours from ``low`` to ``high``; a note stands below it."""

    title: str
    pixels: np.ndarray
    note: str = ""
    low: float = 0.0
    high: float = 1.0


def gallery(cells: Sequence[Cell | tuple], columns: int | None = None, bar: str = "", mark: str = "", legend: Sequence = ()) -> Picture:
    """Images in rows.

    Args:
        cells: :class:`Cell` or tuples like it.
        columns: images in a row; default: all in one.
        bar: what the maps' colours mean; adds a colour bar from 0 to 1.
        mark: where the data come from, e.g. "phantom data".
        legend: matplotlib handles, below the images.
    """
    cells = [Cell(*cell) for cell in cells]
    columns = columns or len(cells)
    rows = -(-len(cells) // columns)
    side = min(1.85, (WIDTH - 0.1 - (0.75 if bar else 0)) / columns - 0.08)
    heights = [side * _aspect(cells[row * columns:(row + 1) * columns]) + 0.24 + 0.17 * any(c.note for c in cells[row * columns:(row + 1) * columns]) for row in range(rows)]
    head, foot = 0.26 if mark else 0.04, 0.28 if legend else 0.04
    width, height = max(columns * (side + 0.08) + 0.1 + (0.75 if bar else 0), 2.6), sum(heights) + head + foot
    with matplotlib.rc_context(RC):
        picture = Picture(width, height)
        top = height - head
        for place, cell in enumerate(cells):
            row, column = divmod(place, columns)
            tall = side * _aspect([cell])
            left, bottom = 0.08 + column * (side + 0.08), top - sum(heights[:row]) - 0.22 - tall
            axes = picture.add_axes((left / width, bottom / height, side / width, tall / height))
            show(axes, cell)
        if bar:
            left = 0.08 + columns * (side + 0.08) + 0.04
            axes = picture.add_axes((left / width, (foot + 0.2) / height, 0.11 / width, (height - head - foot - 0.5) / height))
            colour_bar(picture, axes, bar)
        if legend:
            picture.legend(handles=list(legend), loc="lower left", bbox_to_anchor=(0.05 / width, 0), ncols=4, handlelength=1.1, handleheight=1.1)
        if mark:
            stamp(picture, mark)
    return picture


def show(axes: Axes, cell: Cell, signed: bool = False) -> None:
    """Draw one cell into axes without ticks."""
    if cell.pixels.ndim == 3:
        axes.imshow(cell.pixels, interpolation="nearest")
    else:
        axes.imshow(cell.pixels, cmap=SIGNED_COLOURS if signed else MAP_COLOURS, vmin=cell.low, vmax=cell.high, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set(visible=True, color=FAINT, linewidth=0.6)
    axes.set_title(cell.title, loc="left", pad=3, fontsize=7.5)
    if cell.note:
        axes.text(0, -0.03, cell.note, transform=axes.transAxes, ha="left", va="top", fontsize=7, color=MUTED)


def colour_bar(picture: Figure, axes: Axes, label: str, signed: bool = False) -> None:
    """A bar from 0 to 1, or from - to + where only the sign and the share of the largest value matter."""
    limits = (-1, 1) if signed else (0, 1)
    bar = picture.colorbar(ScalarMappable(Normalize(*limits), SIGNED_COLOURS if signed else MAP_COLOURS), cax=axes, label=label)
    bar.set_ticks([-1, 0, 1], labels=["−", "0", "+"]) if signed else bar.set_ticks([0, 0.5, 1])
    bar.outline.set_visible(False)


def scaled(values: np.ndarray) -> np.ndarray:
    """A map over its largest magnitude: values in [-1, 1], zeros where all are zero."""
    largest = np.abs(values).max()
    return values / largest if largest > 0 else np.zeros_like(values)


def _aspect(cells: Sequence[Cell]) -> float:
    """Height over width of the tallest cell."""
    return max(cell.pixels.shape[0] / cell.pixels.shape[1] for cell in cells)
