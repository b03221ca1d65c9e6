"""The ladder of recipes: one step after another, each kept only if the validation split says so; from result files."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import t

from ehanet.config import RunConfig
from ehanet.records import read_record
from ehanet.reporting.artefacts import make_record
from ehanet.reporting.results import NEVER_FOUND, Result, mark_of, read_results
from ehanet.reporting.style import BLUE, INK, MUTED, VERMILLION, WIDTH, figure_style, plt, save_figure, stamp
from ehanet.reporting.tables import Column, Score, Table, write_table
from ehanet.reporting.tracks import compare_tracks
from ehanet.reporting.wording import WORDS, dataset_title, group_word, in_words

MODULES = ["ehanet.reporting.ladder"]
FREE = ("label", "seed", "device", "dataset", "plugin")  # settings that are no part of a recipe


@dataclass
class Rung:
    """One step: its runs' validation Dice, and what it changed against the last step that was kept."""

    row: Result
    validation: list[float]
    changes: list[str] = field(default_factory=list)
    gain: float = math.nan
    verdict: str = "yes"  # of judge; the first step has none to be compared with

    @property
    def kept(self) -> bool:
        """Whether the next step builds on it."""
        return self.verdict == "yes"

    @property
    def mean(self) -> float:
        """Validation Dice at each run's best epoch, mean over seeds."""
        return float(np.mean(self.validation))


def ladder_report(reports: str | Path, dataset: str) -> Table:
    """Write tables/ladder_<dataset> and figures/ladder_<dataset> and return the table; the steps are the profile's methods in their order.

    Raises:
        FileNotFoundError, ValueError: scores or the runs' records are missing or damaged; the message names the file.
    """
    reports = Path(reports)
    every = read_results(reports, dataset)
    rows = [row for row in every if row.frames]
    rungs = climb([Rung(row, [_validation(reports, dataset, row, seed) for seed in row.seeds]) for row in rows])
    tested = compare_tracks(rows, "dice")
    scores = [Score(*(float(tested.loc[rung.row.label, key]) for key in ("mean", "low", "high"))) for rung in rungs]
    table = _table(dataset, rungs, scores, [row for row in every if not row.frames and row is not NEVER_FOUND])
    sources = {"inputs": [record["id"] for row in rows for record in row.records]}
    write_table(table, reports / "tables", MODULES, **sources)
    path = reports / "figures" / f"ladder_{dataset}"
    record = make_record(path, "figure", MODULES, mark=table.mark, **sources)
    with figure_style():
        save_figure(_draw(rungs, scores, f"{dataset_title(dataset)}: the recipe, step by step", table.mark), path, record, f"Ladder on {dataset_title(dataset)}")
    return table


def climb(rungs: list[Rung]) -> list[Rung]:
    """Fill in what each step changed, gained and whether it is kept: see :func:`judge`."""
    last = rungs[0]
    for rung in rungs[1:]:
        rung.changes = changes(rung.row.config, last.row.config)
        mine, before = _paired(rung, last)
        rung.gain = float(np.mean(mine) - np.mean(before))
        rung.verdict = judge(mine, before)
        last = rung if rung.kept else last
    return rungs


def _paired(rung: Rung, last: Rung) -> tuple[list[float], list[float]]:
    """Validation Dice of the seeds that both have, in one order; the means alone where they have none in common."""
    own, other = (dict(zip(one.row.seeds, one.validation)) for one in (rung, last))
    common = [seed for seed in own if seed in other]
    return ([own[seed] for seed in common], [other[seed] for seed in common]) if common else ([rung.mean], [last.mean])


def judge(validation: list[float], before: list[float]) -> str:
    """"yes" where the gain in validation Dice, seed by seed, is on average above its standard error; "undecided" where it is above 0 and no more; else "no".

    One seed has no standard error, so it decides no gain.
    """
    gains = np.subtract(validation, before) if len(validation) == len(before) else np.array([np.mean(validation) - np.mean(before)])
    if gains.mean() <= 0:
        return "no"
    return "yes" if len(gains) > 1 and gains.mean() > gains.std(ddof=1) / math.sqrt(len(gains)) else "undecided"


def changes(config: dict, before: dict) -> list[str]:
    """What a recipe has changed, in words: ["epochs 40 (20)"]; settings that an older record lacks have their default value."""
    mine, theirs = (RunConfig.from_dict(values).to_dict() for values in (config, before))
    return [f"{WORDS.get(key, key)} {in_words(mine[key])} ({in_words(theirs[key])})" for key in mine if key not in FREE and mine[key] != theirs[key]]


def _validation(reports: Path, dataset: str, row: Result, seed: int) -> float:
    path = reports / "runs" / dataset / row.label / f"seed{seed}" / "record.json"
    try:
        return float(read_record(path)["best"]["val_dice"])
    except KeyError as error:
        raise ValueError(f"{path} does not say the run's validation Dice; train the run again") from error


def _table(dataset: str, rungs: list[Rung], scores: list[Score], absent: list[Result]) -> Table:
    mark = mark_of([rung.row for rung in rungs])
    columns = [Column("step", "Step"), Column("label", "Label", shown=False), Column("changed", "Changed (before)"), Column("validation", "Validation Dice", "score"),
               Column("sd_seeds", "SD over seeds", "score", shown=any(len(rung.validation) > 1 for rung in rungs)), Column("gain", "Gain", "score"), Column("kept", "Kept"),
               Column("test", "Test mDice", "score"), Column("mark", "Mark")]
    body = []
    for rung, test in zip(rungs, scores):
        first = rung is rungs[0]
        spread = float(np.std(rung.validation, ddof=1)) if len(rung.validation) > 1 else math.nan
        body.append({"step": rung.row.title, "label": rung.row.label, "changed": "where it starts" if first else "; ".join(rung.changes) or "nothing",
                     "validation": Score(rung.mean), "sd_seeds": None if math.isnan(spread) else Score(spread), "gain": None if first else Score(rung.gain),
                     "kept": rung.verdict, "test": test, "mark": mark})
    last = [rung for rung in rungs if rung.kept][-1]
    seeds = max(len(rung.validation) for rung in rungs)
    by_chance = f"; a step without any effect passes with a probability of {t.sf(1, seeds - 1):.2f}" if seeds > 1 else ""
    notes = ["Each step is compared with the last one that was kept, seed by seed, and kept if its mean gain in validation Dice is above the gain's standard error over the "
             f"seeds (undecided: above 0 only){by_chance}. The test split chooses nothing. Test: mean over images with its 95 % bootstrap interval over {group_word([last.row])}.",
             "Validation Dice is that of each run's best epoch, which it also chose, so it is too good by a little, and by more for a step with more epochs to choose from.",
             f"The recipe that is left: {last.row.title}."]
    if several := [rung.row.title for rung in rungs if len(rung.changes) > 1]:
        notes.append(f"Several settings changed at once, whose gain is that of all together: {'; '.join(several)}.")
    if any(rung.row.config["initial_weights"] for rung in rungs):
        notes.append("Weights to start from may have learned from these training images before, so that such a step trains longer as well, and may have been chosen by these validation images.")
    if seeds == 1:
        notes.append("One seed: how much of a gain another training would keep is not known, so none is kept.")
    body += [{**row.empty_cells, "step": row.title} for row in absent]
    return Table(f"ladder_{dataset}", f"{dataset_title(dataset)}: the recipe, step by step", mark, columns, body, notes)


def _draw(rungs: list[Rung], scores: list[Score], heading: str, mark: str) -> Figure:
    """A line a step, from the first at the top: validation Dice, filled where the step was kept, and test Dice with its interval."""
    height = 1.15 + 0.3 * max(len(rungs), 2)
    figure, axis = plt.subplots(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0.26 / height, 1, 1 - 0.56 / height))
    for place, (rung, test) in enumerate(zip(rungs, scores)):
        axis.plot([test.low, test.high], [place + 0.14] * 2, color=BLUE, linewidth=1.4, solid_capstyle="round", zorder=2)
        axis.plot(test.mean, place + 0.14, marker="s", color=BLUE, markersize=4.5, linestyle="", zorder=3)
        axis.plot(rung.mean, place - 0.14, marker="o", color=VERMILLION, markerfacecolor=VERMILLION if rung.kept else "white", markersize=5.5, linestyle="", zorder=4)
        if len(rung.validation) > 1:
            axis.plot(rung.validation, [place - 0.14] * len(rung.validation), marker="|", color=VERMILLION, markersize=5, linestyle="", zorder=3)
    axis.set_yticks(range(len(rungs)), [rung.row.title for rung in rungs])
    for text, rung in zip(axis.get_yticklabels(), rungs):
        text.set_color(INK if rung.kept else MUTED)
    axis.set_ylim(len(rungs) - 0.4, -0.6)
    axis.set_xlabel("mean Dice")
    axis.grid(axis="y", visible=False)
    handles = [Line2D([], [], marker="o", color=VERMILLION, linestyle="", label="validation, step kept"),
               Line2D([], [], marker="o", color=VERMILLION, markerfacecolor="white", linestyle="", label="validation, step not kept"),
               Line2D([], [], marker="s", color=BLUE, markersize=4.5, linestyle="-", label="test, 95 % interval")]
    figure.legend(handles=handles, loc="lower center", ncols=3, fontsize=7, borderaxespad=0.2)
    figure.text(0.06 / WIDTH, 1 - 0.06 / height, heading, ha="left", va="top", fontsize=7.5, color=MUTED)
    stamp(figure, mark)
    return figure
