"""Training curves: of one run, and of all runs of a data set side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ehanet.files import file_sha256
from ehanet.records import read_record
from ehanet.reporting.artefacts import make_record
from ehanet.reporting.results import mark_of_manifest
from ehanet.reporting.style import BLUE, FAINT, INK, MUTED, VERMILLION, WIDTH, figure_style, headline, look, looks, panels_across, plt, save_figure, stamp
from ehanet.reporting.wording import dataset_title

MODULES = ["ehanet.reporting.curves"]
COLUMNS = ("epoch", "train_loss", "val_loss", "val_dice")


def training_curve(history: str | Path, out: str | Path, title: str = "", mark: str | None = None) -> Path:
    """Draw one run's losses and validation Dice by epoch.

    Args:
        history: the run's history.csv. out: path of the figure; .png, .pdf and the record are written beside each other.
        mark: provenance mark; default: from the run's record.json where it lies beside the history.

    Returns:
        The PNG's path.
    """
    history, out = Path(history), Path(out).with_suffix("")
    frame = read_history(history)
    beside = history.with_name("record.json")
    known = read_record(beside) if beside.is_file() else {}
    mark = mark or (mark_of_manifest(known["data"]) if "data" in known else None)
    record = make_record(out, "figure", MODULES, mark=mark, inputs=[known["id"]] if known else [], history_sha256=file_sha256(history))
    with figure_style():
        save_figure(_draw_one(frame, _kept(frame, known), title or _name(known), mark), out, record, title or "Training curve")
    return out.with_suffix(".png")


def training_overview(reports: str | Path, dataset: str) -> Path | None:
    """Draw figures/training_<dataset>: validation Dice by epoch, a panel a method, the others in grey behind it.

    Reads ``reports``/runs/<dataset>/<label>/seed<k>/{history.csv, record.json}; None where there is no finished run.
    """
    reports = Path(reports)
    runs: dict[str, list[tuple[pd.DataFrame, int]]] = {}
    records, hashes = [], []
    for path in sorted((reports / "runs" / dataset).glob("*/seed*/history.csv")):
        if path.with_name("record.json").is_file():
            records.append(read_record(path.with_name("record.json")))
            frame = read_history(path)
            runs.setdefault(path.parent.parent.name, []).append((frame, _kept(frame, records[-1])))
            hashes.append(file_sha256(path))
    if not runs:
        return None
    mark = mark_of_manifest(records[0].get("data", {}))
    out = reports / "figures" / f"training_{dataset}"
    record = make_record(out, "figure", MODULES, mark=mark, inputs=[record["id"] for record in records], histories_sha256=hashes)
    methods = {record["config"]["label"]: record["config"]["method"] for record in records}
    with figure_style():
        save_figure(_draw_overview(runs, methods, dataset_title(dataset), mark), out, record, f"Training on {dataset_title(dataset)}")
    return out.with_suffix(".png")


def read_history(path: Path) -> pd.DataFrame:
    """A run's history.csv; one without the known columns or without epochs is a ``ValueError`` that names it."""
    try:
        frame = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no training history ({type(error).__name__}); run the training step again") from error
    if frame.empty or not set(COLUMNS) <= set(frame.columns):
        raise ValueError(f"{path} is no training history: it needs rows with {', '.join(COLUMNS)}; run the training step again")
    return frame


def _kept(frame: pd.DataFrame, record: dict) -> int:
    """Row of the epoch whose checkpoint the run keeps: the released protocol chooses it by the loss; without a record that of the best Dice."""
    rows = np.flatnonzero(frame["epoch"] == (record.get("best") or {}).get("epoch"))
    return int(rows[0]) if len(rows) else int(frame["val_dice"].to_numpy().argmax())


def _name(record: dict) -> str:
    config = record.get("config")
    return f"{look(config['label'], config['method']).title} on {dataset_title(record['data']['name'])}, seed {config['seed']}" if config else ""


def _draw_one(frame: pd.DataFrame, kept: int, title: str, mark: str | None) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.5), layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0, 1, 0.89), w_pad=0.08)
    dots = {"marker": "o", "markersize": 3} if len(frame) <= 12 else {}
    left.plot(frame["epoch"], frame["train_loss"], color=BLUE, label="training", **dots)
    left.plot(frame["epoch"], frame["val_loss"], color=VERMILLION, linestyle=(0, (4, 1.5)), label="validation", **dots)
    left.set_title("Loss")
    left.set_ylabel("loss")
    left.legend()
    epoch, dice = frame["epoch"].iloc[kept], frame["val_dice"].iloc[kept]
    right.plot(frame["epoch"], frame["val_dice"], color=VERMILLION, **dots)
    right.plot(epoch, dice, "o", markersize=7, markerfacecolor="none", markeredgecolor=INK)
    right.set_title(f"Validation Dice: {dice:.3f} in the epoch kept, {epoch}")
    right.set_ylabel("mean Dice")
    right.set_ylim(0, 1)
    for axis in (left, right):
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    figure.text(0.06 / WIDTH, 1 - 0.06 / 2.5, title, ha="left", va="top", fontsize=7.5, color=MUTED)
    if mark:
        stamp(figure, mark)
    return figure


def _draw_overview(runs: dict[str, list[tuple[pd.DataFrame, int]]], methods: dict[str, str], title: str, mark: str) -> Figure:
    dice = {label: [frame["val_dice"].iloc[kept] for frame, kept in found] for label, found in runs.items()}
    labels = sorted(runs, key=lambda label: (methods.get(label) != "ehanet", label != "ehanet", -max(dice[label])))
    wide = panels_across(len(labels))
    high = -(-len(labels) // wide)
    several = any(len(found) > 1 for found in runs.values())
    told = f"marker: the epoch kept; number: its Dice{', mean over seeds' if several else ''}"
    long = len(mark) > 20 and several  # a union's mark: no room beside it
    heading, more = headline(f"{title}: validation Dice in training{'' if long else f'; {told}'}", told if long else "")
    height = 0.55 + more + 1.45 * high
    figure, axes = plt.subplots(high, wide, figsize=(WIDTH, height), sharex=True, sharey=True, layout="constrained", squeeze=False)
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - (0.3 + more) / height))
    styles = looks({label: methods.get(label, label) for label in runs})
    for axis, label in zip(axes.flat, labels):
        style = styles[label]
        for other in labels:
            for frame, _ in runs[other] if other != label else []:
                axis.plot(frame["epoch"], frame["val_dice"], color=FAINT, linewidth=0.7, zorder=1)
        for frame, kept in runs[label]:
            axis.plot(frame["epoch"], frame["val_dice"], color=style.colour, zorder=3)
            axis.plot(frame["epoch"].iloc[kept], frame["val_dice"].iloc[kept], marker=style.marker, color=style.colour, markersize=6 * style.scale, markeredgecolor="white", zorder=4)
        axis.set_title(style.title, fontsize=6.8)
        axis.text(0.97, 0.06, f"{np.mean(dice[label]):.3f}", transform=axis.transAxes, ha="right", fontsize=7.5)
    for axis in axes.flat[len(labels):]:
        axis.set_visible(False)
    for column in range(wide):  # the lowest panel of each column carries the epochs
        lowest = [axis for axis in axes[:, column] if axis.get_visible()][-1]
        lowest.set_xlabel("epoch")
        lowest.tick_params(labelbottom=True)
    least = min(map(min, dice.values()))
    axes[0, 0].set_ylim(0.5 if least > 0.75 else 0, 1)
    axes[0, 0].xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    figure.supylabel("validation Dice", fontsize=8)
    figure.text(0.06 / WIDTH, 1 - 0.06 / height, heading, ha="left", va="top", fontsize=7.5, color=MUTED)
    stamp(figure, mark)
    return figure
