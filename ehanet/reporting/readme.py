"""The results table of the README, written from a profile's comparison tables: ``make readme``."""

from __future__ import annotations

import sys
from pathlib import Path

from ehanet.records import read_record
from ehanet.files import write_atomically
from ehanet.reporting.sections import comparisons
from ehanet.reporting.tables import Table
from ehanet.reporting.wording import dataset_title
from ehanet.reporting.writers import to_markdown

BEGIN, END = "<!-- results: begin (written by `make readme`; do not edit) -->", "<!-- results: end -->"
SHOWN = ("title", "track", "encoder", "dice", "dice_object", "iou", "boundary_f1", "hd95", "mark")


def write_results(readme: str | Path, reports: str | Path) -> None:
    """Put a short table of each data set of ``reports`` between the two marks of ``readme``.

    Raises:
        FileNotFoundError: no comparison table in ``reports``.
        ValueError: the marks are missing.
    """
    readme, reports = Path(readme), Path(reports)
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{readme}: expected the lines {BEGIN!r} and {END!r}, once each and in this order")
    tables = comparisons(reports)
    if not tables:
        raise FileNotFoundError(f"{reports}/tables holds no comparison; run make paper for this profile first")
    head, tail = text[:text.index(BEGIN) + len(BEGIN)], text[text.index(END):]
    write_atomically(readme, "\n\n".join([head, *(_short(table, reports, name) for name, table in tables.items()), tail]))


def _short(table: Table, reports: Path, name: str) -> str:
    columns = [column for column in table.columns if column.key in SHOWN]
    short = Table(table.name, table.caption, table.mark, sorted(columns, key=lambda column: SHOWN.index(column.key)), table.rows)
    link = f"{reports.name}/tables/comparison_{name}.md"
    record = read_record(reports / "tables" / f"{table.name}.json")["id"]
    return f"{to_markdown(short, record).rstrip()}\n\nNotes, further scores and differences for {dataset_title(name)}: [{link}](reports/{link})."


if __name__ == "__main__":
    try:
        write_results(*sys.argv[1:])
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
