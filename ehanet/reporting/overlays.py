"""What the studies draw on images: contours of truth and prediction, grids of pictures; and the stored maps that they show."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, withStroke

from ehanet.data import Dataset
from ehanet.predictions import Predictions, predictions_path, read_predictions
from ehanet.reporting.results import Result
from ehanet.reporting.style import FAINT, INK, MUTED, WIDTH, plt, stamp

TRUTH = {"color": "white", "linestyle": "-", "linewidth": 1.2}
PREDICTION = {"color": "#f09a1a", "linestyle": (0, (2.2, 1.4)), "linewidth": 1.4}  # dashed, so that it is told apart in grey print
HALO_WIDTH, CELL = 2.4, 1.3  # points; inches: the lines are for cells of this side, thinner in smaller ones
DARK = 96  # of 255: an image whose brightest percent of values is darker is brightened for display
COVERED, THINNEST = 0.12, 0.3  # the share of a picture that contours may cover before they grow thinner, and how thin they grow at most
HALO = [withStroke(linewidth=HALO_WIDTH, foreground=INK), Normal()]


def read_maps(reports: str | Path, row: Result, data: Dataset, seed: int | None = None) -> Predictions:
    """The stored maps of a row's seed (default: its first).

    Raises:
        FileNotFoundError, ValueError: the maps are missing, or of images that the data set does not have.
    """
    path = predictions_path(reports, data.name, row.label, row.seeds[0] if seed is None else seed)
    maps = read_predictions(path)
    if set(maps.ids) - set(data.ids) or maps.probabilities.shape[1:] != data.masks.shape[1:]:
        raise ValueError(f"{path} was made from other images than {data.name} at {data.masks.shape[1]} pixels; run the evaluation step again")
    return maps


def places_of(data: Dataset, ids: list[str]) -> list[int]:
    """Index of each image in the data set."""
    place = {image: index for index, image in enumerate(data.ids)}
    return [place[image] for image in ids]


def draw_contour(axis: Axes, mask: np.ndarray, line: dict, halo: bool = True, beside: np.ndarray | None = None) -> None:
    """The contour of a boolean mask (H, W), closed along the border of the image; nothing where the mask is empty.

    Small axes and masks of many objects get thinner lines; with ``beside``, as thin as the contour of that mask.
    """
    if mask.any():
        thinner = _thinner(mask if beside is None else beside, axis.bbox.width / axis.figure.dpi, HALO_WIDTH if halo else line["linewidth"])
        padded = np.pad(mask.astype(float), 1)
        places = [np.arange(-1, side + 1) for side in mask.shape]
        axis.contour(places[1], places[0], padded, levels=[0.5], colors=[line["color"]], linestyles=[line["linestyle"]], linewidths=[thinner * line["linewidth"]],
                     path_effects=[withStroke(linewidth=thinner * HALO_WIDTH, foreground=INK), Normal()] if halo else None)


def _thinner(mask: np.ndarray, side: float, width: float) -> float:
    """Factor on the width (points) of a mask's contour in axes of ``side`` inches."""
    small = min(1, side / CELL)
    length = ((mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum()) / mask.shape[1]  # in sides of the picture
    covered = length * small * width / 72 / side
    return small * max(THINNEST, min(1, COVERED / covered)) if covered else small


def contour_legend(title: str) -> list[Line2D]:
    """Handles that explain the contours of truth and prediction, the latter called ``title``."""
    return [Line2D([], [], label="truth", path_effects=HALO, **TRUTH), Line2D([], [], label=title, path_effects=HALO, **PREDICTION)]


def picture_grid(rows: int, columns: int, heading: str, mark: str, names: list[str], margin: float = 0.62, line: float = 0.14,
                 foot: float = 0.3) -> tuple[Figure, np.ndarray]:
    """A figure of ``rows`` x ``columns`` square axes without ticks, and the axes (rows, columns).

    Args:
        names: above the columns of the first row. margin: inches left of the grid. line: inches below each cell for a line of text.
        foot: inches below all.
    """
    heading = textwrap.fill(heading, 92)
    head, title, gap = 0.24 + 0.13 * heading.count("\n"), 0.34 if names else 0.06, 0.05
    cell = min(CELL, (WIDTH - margin - 0.06) / columns - gap)
    height = head + title + rows * (cell + line) + foot
    figure = plt.figure(figsize=(WIDTH, height))
    axes = np.empty((rows, columns), object)
    for row in range(rows):
        bottom = height - head - title - (row + 1) * (cell + line) + line
        for column in range(columns):
            axis = figure.add_axes(((margin + column * (cell + gap)) / WIDTH, bottom / height, cell / WIDTH, cell / height))
            axis.set(xticks=[], yticks=[])
            axis.grid(visible=False)
            axis.spines[:].set(visible=True, color=FAINT, linewidth=0.5)
            if row == 0 and column < len(names):
                axis.text(0.5, 1.04, names[column], transform=axis.transAxes, ha="center", va="bottom", fontsize=6.6, linespacing=1.05)
            axes[row, column] = axis
    figure.text(0.06 / WIDTH, 1 - 0.06 / height, heading, ha="left", va="top", fontsize=7.5, color=MUTED)
    stamp(figure, mark)
    return figure, axes


def brightened(image: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
    """An image (H, W, 3) uint8 as people can see it: a dark one (fluorescence) scaled so that its 99th percentile is white, every other as it is.

    Args:
        like: the image that decides instead, so that variants of one image stay comparable.
    """
    brightest = _brightest(image if like is None else like)
    return np.minimum(image * (255 / max(brightest, 1)), 255).astype(np.uint8) if brightest < DARK else image


def display_note(images: Iterable[np.ndarray]) -> str:
    """What a heading adds where :func:`brightened` changes one of its images; else empty."""
    return "; dark images brightened for display" if any(_brightest(image) < DARK for image in images) else ""


def _brightest(image: np.ndarray) -> float:
    return float(np.quantile(image, 0.99))


def show(axis: Axes, picture: np.ndarray, below: str = "", **options) -> None:
    """A picture with a line of text below it, a photograph (uint8) :func:`brightened`; its limits hold against contours at the border."""
    axis.imshow(brightened(picture) if picture.dtype == np.uint8 else picture, interpolation="nearest", **options)
    axis.set(xlim=(-0.5, picture.shape[1] - 0.5), ylim=(picture.shape[0] - 0.5, -0.5))
    axis.text(0.5, -0.03, below, transform=axis.transAxes, ha="center", va="top", fontsize=6.2, color=INK)


def shortened(name: str, longest: int = 20) -> str:
    """An image's name as a caption has room for it: its beginning and its end, where slices of one patient differ."""
    return name if len(name) <= longest else f"{name[:longest // 2]}…{name[longest // 2 + 1 - longest:]}"


def name_row(axis: Axes, text: str) -> None:
    """Text at the left of a row of pictures."""
    axis.text(-0.06, 0.5, text, transform=axis.transAxes, ha="right", va="center", fontsize=6.5, color=MUTED)
