"""The same rows in several reports, such as other image sides or a frozen encoder, beside each other: ``make readme``.

    python -m ehanet.reporting.beside docs/results.md "fine-tuned, 128 px=reports/decoders" "fine-tuned, 256 px=reports/decoders-256"
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from ehanet.reporting.glance import differences, reference_row
from ehanet.reporting.readme import put_between_marks, scored, source
from ehanet.reporting.tables import Column, Table
from ehanet.reporting.wording import dataset_title
from ehanet.reporting.writers import format_score

SCORES = {"dice": "Mean Dice", "boundary_f1": "Boundary F1"}
CLEAR = "†"


class Compared(NamedTuple):
    """A comparison table, where it is from, and what sets its report apart, in words."""

    setting: str
    folder: Path
    dataset: str
    table: Table


def write_beside(page: str | Path, reports: dict[str, str | Path]) -> None:
    """Put a table for each of ``SCORES``, and links to where its numbers are from, between the marks of ``page``.

    Args:
        reports: what sets a report apart, in words -> its folder.

    Raises:
        FileNotFoundError: a folder has no comparison table.
        ValueError: the marks are missing.
    """
    found = [Compared(setting, Path(folder), dataset, table) for setting, folder in reports.items() for dataset, table in scored(folder).items()]
    datasets = list(dict.fromkeys(one.dataset for one in found))
    found.sort(key=lambda one: datasets.index(one.dataset))
    put_between_marks(page, [beside(found, score) for score in SCORES], [source(page, one.folder, one.table) for one in found])


def beside(found: list[Compared], score: str) -> Table:
    """Means of ``score``: a row for each comparison, a column for each network that at least two of them have."""
    rows, titles, times = [], {}, {}
    for one in found:
        marked = {row["label"]: CLEAR for row, clear in differences(one.folder, one.dataset, score) if clear}
        scores = {row["label"]: format_score(row[score], 3)[0] for row in one.table.rows if row[score] is not None}
        titles |= {row["label"]: row["title"] for row in one.table.rows}
        times |= {label: times.get(label, 0) + 1 for label in scores}
        rows.append({"setting": f"{dataset_title(one.dataset)}, {one.setting}"} | {label: mean + marked.get(label, "") for label, mean in scores.items()})
    columns = [Column("setting", "Data set and setting")] + [Column(label, titles[label], "value") for label, number in times.items() if number > 1]
    marks = " / ".join(dict.fromkeys(one.table.mark for one in found))
    note = f"{CLEAR}: differs from {reference_row(found[0].table)['title']} over the test images (paired permutation test, p < 0.05 after Holm's correction within the row)."
    return Table(f"beside_{score}", SCORES[score], marks, columns, rows, [note])


if __name__ == "__main__":
    try:
        write_beside(sys.argv[1], dict(word.split("=", 1) for word in sys.argv[2:]))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
