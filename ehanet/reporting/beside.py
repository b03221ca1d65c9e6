"""The same rows in several reports, such as other image sides or a frozen encoder, beside each other, in tables and figures: ``make readme``.

    python -m ehanet.reporting.beside docs/results.md "fine-tuned, 128 px=reports/decoders" "fine-tuned, 256 px=reports/decoders-256"
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

from ehanet.metrics.boundaries import BOUNDARY_F1_TOLERANCE
from ehanet.metrics.statistics import paired_differences
from ehanet.reporting.artefacts import make_record
from ehanet.reporting.forest import Change, draw_forest
from ehanet.reporting.glance import differences, reference_row
from ehanet.reporting.readme import put_between_marks, scored, source
from ehanet.reporting.results import read_results
from ehanet.reporting.style import figure_style, save_figure
from ehanet.reporting.tables import Column, Score, Table
from ehanet.reporting.wording import dataset_title
from ehanet.reporting.writers import format_score

MODULES = ["ehanet.reporting.beside", "ehanet.reporting.forest"]
SCORES = {"dice": "Mean Dice", "boundary_f1": "Boundary F1"}
CLEAR = "†"


class Compared(NamedTuple):
    """A comparison table, where it is from, and what sets its report apart, in words."""

    setting: str
    folder: Path
    dataset: str
    table: Table

    @property
    def title(self) -> str:
        """Data set and setting."""
        return f"{dataset_title(self.dataset)}, {self.setting}"


def write_beside(page: str | Path, reports: dict[str, str | Path]) -> None:
    """Put a table for each of ``SCORES``, and links to where its numbers are from, between the marks of ``page``, and draw the differences: figures/beside_<score> next to it.

    Args:
        reports: what sets a report apart, in words -> its folder.

    Raises:
        FileNotFoundError: a folder has no comparison table, or scores are missing.
        ValueError: the marks are missing, or a file is damaged.
    """
    found = by_dataset([Compared(setting, Path(folder), dataset, table) for setting, folder in reports.items() for dataset, table in scored(folder).items()])
    put_between_marks(page, [beside(found, score) for score in SCORES], [source(page, one.folder, one.table) for one in found])
    for score in SCORES:
        draw_beside(found, score, Path(page).parent / "figures")


def by_dataset(found: list[Compared]) -> list[Compared]:
    """Those of a data set after each other, in the order in which data sets come up."""
    datasets = list(dict.fromkeys(one.dataset for one in found))
    return sorted(found, key=lambda one: datasets.index(one.dataset))


def beside(found: list[Compared], score: str) -> Table:
    """Means of ``score``: a row for each comparison, a column for each network that at least two of them have; last, in how many each is clearly apart from the reference."""
    reference, titles = reference_row(found[0].table), networks(found)
    above, below, rows = Counter(), Counter(), []
    for one in found:
        clear = {row["label"]: row[f"{score}_difference"].mean for row, clear in differences(one.folder, one.dataset, score) if clear}
        above.update(label for label, difference in clear.items() if difference > 0)
        below.update(label for label, difference in clear.items() if difference < 0)
        scores = {row["label"]: format_score(row[score], 3)[0] for row in one.table.rows if row[score] is not None}
        rows.append({"setting": one.title} | {label: mean + CLEAR * (label in clear) for label, mean in scores.items()})
    rows.append({"setting": f"Clearly above / below {reference['title']}"} | {label: f"{above[label]} / {below[label]}" for label in titles if label != reference["label"]})
    columns = [Column("setting", "Data set and setting")] + [Column(label, title, "value") for label, title in titles.items()]
    notes = [f"{CLEAR}: clearly apart from {reference['title']} over the test images (paired permutation test, p < 0.05 after Holm's correction over the networks of the report)."]
    if spread := [float(row[f"{score}_sd_seeds"]) for one in found for row in one.table.rows if row["label"] in titles and row[f"{score}_sd_seeds"]]:
        notes.append(f"Standard deviation over the trainings of a cell: {median(spread):.3f} in the median, {max(spread):.3f} at most.")
    if score == "boundary_f1":
        notes.append(f"Within {BOUNDARY_F1_TOLERANCE:g} px at the size trained at, so that numbers of two sizes do not compare.")
    return Table(f"beside_{score}", SCORES[score], provenance(found), columns, rows, notes)


def networks(found: list[Compared], score: str = "dice") -> dict[str, str]:
    """Label -> title of the networks whose ``score`` at least two tables have."""
    titles = [(row["label"], row["title"]) for one in found for row in one.table.rows if row[score] is not None]
    times = Counter(label for label, _ in titles)
    return {label: title for label, title in titles if times[label] > 1}


def provenance(found: list[Compared]) -> str:
    """Where the numbers are from, "reproduced here" for instance."""
    return " / ".join(dict.fromkeys(one.table.mark for one in found))


def draw_beside(found: list[Compared], score: str, folder: Path) -> None:
    """Figure beside_<score>: a panel for each network of :func:`networks`, in it the difference to the reference in every comparison."""
    reference = reference_row(found[0].table)
    panels = {label: title for label, title in networks(found).items() if label != reference["label"]}
    changes, inputs = [], []
    for one in found:
        rows = [row for row in read_results(one.folder, one.dataset) if row.frames]
        table = paired_differences({row.label: row.frames for row in rows}, score, reference["label"])
        changes.append(Change(one.title, {label: Score(*values) for label, *values in table.itertuples()}))
        inputs += [record["id"] for row in rows for record in row.records]
    path, mark = folder / f"beside_{score}", provenance(found)
    record = make_record(path, "figure", MODULES, mark=mark, inputs=inputs)
    with figure_style():
        figure = draw_forest(changes, panels, f"{SCORES[score]}: difference to {reference['title']} in each setting", mark, one_scale=True)
        save_figure(figure, path, record, SCORES[score])


def from_command_line(write: Callable[[str, dict[str, str]], None]) -> None:
    """Call ``write`` with the page and the reports ("setting=folder") of the command line; what goes wrong is said in one line."""
    try:
        write(sys.argv[1], dict(word.split("=", 1) for word in sys.argv[2:]))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    from_command_line(write_beside)
