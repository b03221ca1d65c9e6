"""The results table of the README, written from a profile's comparison tables: ``make readme``."""

from __future__ import annotations

import sys
from pathlib import Path

from ehanet.files import write_atomically
from ehanet.records import read_record
from ehanet.reporting.glance import overview
from ehanet.reporting.sections import comparisons
from ehanet.reporting.tables import Table
from ehanet.reporting.writers import escape_markdown, to_markdown

BEGIN, END = "<!-- results: begin (written by `make readme`; do not edit) -->", "<!-- results: end -->"


def write_results(readme: str | Path, reports: str | Path) -> None:
    """Put mean Dice on every data set of ``reports``, and links to their tables, between the two marks of ``readme``.

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
    listed = [_listed(reports, name, table) for name, table in tables.items()]
    write_atomically(readme, "\n\n".join([head, to_markdown(overview(tables)).rstrip(), "\n".join(listed), tail]))


def _listed(reports: Path, name: str, table: Table) -> str:
    """What the table is of, where it is, and the id of its record."""
    link, record = f"{reports.name}/tables/comparison_{name}.md", read_record(reports / "tables" / f"{table.name}.json")["id"]
    return f"- {escape_markdown(table.caption)}: [{link}](reports/{link}), record {record}."


if __name__ == "__main__":
    try:
        write_results(*sys.argv[1:])
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
