"""What is in a data set: manifest, split and a sheet of images with their contours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ehanet.data import Dataset
from ehanet.data.splits import write_split
from ehanet.reporting.artefacts import make_record
from ehanet.reporting.overlays import shortened
from ehanet.reporting.results import mark_of_manifest
from ehanet.reporting.style import MUTED, WIDTH, figure_style, plt, save_figure, stamp
from ehanet.reporting.wording import dataset_title

SHOWN = 6
NAMED = 12  # letters of an id that the sheet has room for


def data_sheet(data: Dataset, out_dir: str | Path) -> dict:
    """Write ``out_dir``/<name>.json (the record, with the manifest under "data"), <name>.split.csv, and <name>.png and .pdf, and return the record.

    The sheet shows six training images from the smallest to the largest object, at equal steps of rank: a rule, not a taste.
    """
    path = Path(out_dir) / data.name
    mark = mark_of_manifest(data.manifest)
    record = make_record(path, "data", ["ehanet.reporting.datasheet"], data=data.manifest, mark=mark, warnings=data.manifest.get("warnings", []))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_split(path.with_name(f"{data.name}.split.csv"), data.ids, data.splits)
    with figure_style():
        save_figure(_draw(data, mark), path, record, f"Images of {dataset_title(data.name)}")
    return record


def choose_by_area(data: Dataset, count: int = SHOWN) -> list[int]:
    """Indices of ``count`` training images with an object, at equal steps of its area's rank; fewer where there are fewer, none without a training image."""
    indices = np.asarray(data.splits["train"])
    if not len(indices):
        return []
    areas = np.array([int(np.count_nonzero(data.masks[index])) for index in indices])
    ranked = indices[areas > 0][np.argsort(areas[areas > 0], kind="stable")]
    if len(ranked) == 0:
        ranked = indices
    return [int(ranked[place]) for place in np.unique(np.linspace(0, len(ranked) - 1, count).round().astype(int))]


def _draw(data: Dataset, mark: str) -> Figure:
    chosen = choose_by_area(data)
    cell = (WIDTH - 0.1) / SHOWN
    height = (2 * cell if chosen else 0) + 0.62
    figure, axes = plt.subplots(2, SHOWN, figsize=(WIDTH, height), gridspec_kw={"wspace": 0.05, "hspace": 0.05, "left": 0.007, "right": 0.993,
                                "top": 1 - 0.36 / height, "bottom": 0.25 / height})
    for axis in axes.flat:
        axis.set_axis_off()
    for column, index in enumerate(chosen):
        image, mask = data.images[index], data.masks[index]
        for row in (0, 1):
            axes[row, column].imshow(image, interpolation="nearest")
        if mask.any():
            framed = np.pad(mask, 1)  # closes the contour of an object that touches the border
            grid = np.arange(-1, mask.shape[1] + 1), np.arange(-1, mask.shape[0] + 1)
            for colour, width in (("black", 2.4), ("#ffe14d", 1.2)):
                axes[1, column].contour(*grid, framed, levels=[0.5], colors=colour, linewidths=width)
            axes[1, column].set(xlim=(-0.5, mask.shape[1] - 0.5), ylim=(mask.shape[0] - 0.5, -0.5))
        area = 100 * np.count_nonzero(mask) / mask.size
        axes[1, column].text(0.5, -0.04, f"{shortened(data.ids[index], NAMED)}, {area:.1f} %", transform=axes[1, column].transAxes, ha="center", va="top", fontsize=6.2, color=MUTED)
    counts = " / ".join(str(len(data.splits[part])) for part in ("train", "val", "test"))
    size, shown = data.images.shape[1], "training images by the area of the object" if chosen else "no training images to show"
    figure.text(0.06 / WIDTH, 1 - 0.06 / height, f"{dataset_title(data.name)}, {size} × {size} px, train / val / test {counts}: {shown}",
                ha="left", va="top", fontsize=7, color=MUTED)
    stamp(figure, mark)
    return figure
