"""The same test images with the prediction of every method: what it found, missed and drew where nothing is."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ehanet.data import Dataset
from ehanet.metrics.regions import binarise, dice_per_image
from ehanet.reporting.artefacts import make_record
from ehanet.reporting.overlays import brightened, display_note, read_maps
from ehanet.reporting.results import Result, find_reference, mark_of, read_results
from ehanet.reporting.style import BACKGROUND, FAINT, FOUND, INK, MISSED, MUTED, SPURIOUS, WIDTH, figure_style, headline, look, plt, save_figure, stamp
from ehanet.reporting.wording import dataset_title, trained_encoders

QUANTILES = {"best": 1.0, "upper\nquartile": 0.75, "median": 0.5, "lower\nquartile": 0.25, "worst": 0.0}
METHODS_A_BAND = 8  # beside the reference; more go into a second band below, with image, truth and reference again
PALETTE = np.array([to_rgb(colour) for colour in (BACKGROUND, SPURIOUS, MISSED, FOUND)])  # index: 2 * truth + prediction
TRUTH = np.array([to_rgb(colour) for colour in (BACKGROUND, MUTED)])  # darker than what is found: nothing stands beside it to tell it apart from


class _Column(NamedTuple):
    title: str
    masks: np.ndarray  # (rows, H, W) bool
    dice: np.ndarray  # (rows,)
    reference: bool


def side_by_side(data: Dataset, reports: str | Path) -> Path:
    """Draw figures/side_by_side_<data set> and return the PNG's path.

    Rows are test images chosen by the reference's Dice (best, quartiles, worst), columns the image, the truth and every method
    that methods.json names, with its first seed (one method alone: with each of its seeds); the Dice of each cell is printed below it.

    Raises:
        FileNotFoundError, ValueError: predictions are missing, or hold images that the data set does not have.
    """
    reports = Path(reports)
    rows = [row for row in read_results(reports, data.name) if row.frames]
    reference = find_reference(rows)
    place = {image: index for index, image in enumerate(data.ids)}
    maps = read_maps(reports, reference, data)
    ids, probabilities = maps.ids, maps.probabilities
    labels = data.masks[[place[image] for image in ids]].astype(bool)
    chosen = choose_by_dice(dice_per_image(probabilities, labels), labels)
    shown = [ids[index] for index in chosen]
    indices = [place[image] for image in shown]
    columns = [_column(reports, row, data, shown, indices, row is reference) for row in [reference, *(row for row in rows if row is not reference)]]
    inputs = [row.records[0]["id"] for row in rows]
    if len(rows) == 1:
        columns += [_column(reports, reference, data, shown, indices, False, seed) for seed in reference.seeds[1:]]
        inputs = [record["id"] for record in reference.records]
    mark, path = mark_of(rows), reports / "figures" / f"side_by_side_{data.name}"
    record = make_record(path, "figure", ["ehanet.reporting.pictures"], mark=mark, images=shown, data=data.manifest, inputs=inputs)
    with figure_style():
        figure = _draw(data, indices, columns, f"{dataset_title(data.name)}: test images at the quartiles of the Dice of {columns[0].title}, seed {reference.seeds[0]}"
                       + display_note(data.images[indices]), trained_encoders(rows), mark)
        save_figure(figure, path, record, f"Predictions side by side on {dataset_title(data.name)}")
    return path.with_suffix(".png")


def choose_by_dice(dice: np.ndarray, labels: np.ndarray) -> list[int]:
    """Indices of the images at the quantiles of Dice, best first; of those with an object where there are any, each once.

    Args:
        dice: (N,). labels: (N, H, W) bool.
    """
    candidates = np.flatnonzero(labels.any(axis=(1, 2)))
    candidates = candidates if len(candidates) else np.arange(len(dice))
    ranked = candidates[np.argsort(dice[candidates], kind="stable")]
    places = [round(quantile * (len(ranked) - 1)) for quantile in QUANTILES.values()]
    return [int(ranked[place]) for place in dict.fromkeys(places)]


def _column(reports: Path, row: Result, data: Dataset, shown: list[str], indices: list[int], reference: bool, seed: int | None = None) -> _Column:
    maps = read_maps(reports, row, data, seed)
    ids, probabilities = maps.ids, maps.probabilities
    missing = set(shown) - set(ids)
    if missing:
        raise ValueError(f"{row.label}: no prediction of {min(missing)}; run the evaluation step again")
    probabilities = probabilities[[ids.index(image) for image in shown]]
    return _Column(look(row.label, row.method).title if seed is None else f"seed {seed}", binarise(probabilities), dice_per_image(probabilities, data.masks[indices]), reference)


def _draw(data: Dataset, indices: list[int], columns: list[_Column], title: str, trained: str, mark: str) -> Figure:
    others = columns[1:]
    bands = max(1, -(-len(others) // METHODS_A_BAND))
    size = -(-len(others) // bands)
    groups = [[columns[0], *others[band * size:(band + 1) * size]] for band in range(bands)]
    title, more = headline(title, trained)
    margin, head, names, foot, gap, line = 0.5, 0.2 + more, 0.36, 0.28, 0.04, 0.13  # inches; ``line`` holds the Dice below a cell
    wide = 2 + len(groups[0])
    cell = min(1.1, (WIDTH - margin - 0.06) / wide - gap)
    width, band_height = WIDTH, len(indices) * (cell + line) + names
    height = head + bands * band_height + foot
    figure = plt.figure(figsize=(width, height))
    for band, group in enumerate(groups):
        top = height - head - band * band_height - names
        for row, index in enumerate(indices):
            bottom = top - (row + 1) * (cell + line) + line
            named = list(QUANTILES)[row] if len(indices) == len(QUANTILES) else ""
            figure.text((margin - 0.08) / width, (bottom + cell / 2) / height, named, ha="right", va="center", fontsize=6.5, color=MUTED)
            truth = data.masks[index].astype(bool)
            pictures = [("image", brightened(data.images[index]), None, False), ("truth", TRUTH[truth.astype(int)], None, False)]
            pictures += [(column.title, PALETTE[2 * truth + column.masks[row]], column.dice[row], column.reference) for column in group]
            for place, (name, picture, dice, bold) in enumerate(pictures):
                left = margin + place * (cell + gap)
                axis = figure.add_axes((left / width, bottom / height, cell / width, cell / height))
                axis.imshow(picture, interpolation="nearest")
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set(visible=True, color=FAINT, linewidth=0.5)
                if dice is not None:
                    axis.text(0.5, -0.03, f"{dice:.2f}", transform=axis.transAxes, ha="center", va="top", fontsize=6.2, color=INK if bold else MUTED)
                if row == 0:
                    axis.text(0.5, 1.05, name.replace(" + ", " +\n").replace(", ", ",\n").replace(" (", "\n("), transform=axis.transAxes, ha="center",
                              va="bottom", fontsize=6.2 if cell > 0.62 else 5.4, fontweight="bold" if bold else "normal", linespacing=1.05)
    figure.text(0.06 / width, 1 - 0.06 / height, title, ha="left", va="top", fontsize=7, color=MUTED)
    figure.legend(handles=[Patch(facecolor=FOUND, label="found"), Patch(facecolor=MISSED, label="missed"), Patch(facecolor=SPURIOUS, label="spurious")],
                  loc="lower left", bbox_to_anchor=(margin / width, 0), ncols=3, fontsize=7, handlelength=1.1, handleheight=1.1, borderaxespad=0.2)
    figure.text(1 - 0.06 / width, 0.1 / height, "number: Dice", ha="right", va="bottom", fontsize=6.5, color=MUTED)
    stamp(figure, mark)
    return figure
