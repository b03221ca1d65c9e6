"""The tables within README and docs, written from those of `reports/` between two marks of the text: ``make readme``.

    python -m ehanet.reporting.readme README.md reports/laptop
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ehanet.files import write_atomically
from ehanet.records import read_record
from ehanet.reporting.glance import overview
from ehanet.reporting.sections import comparisons
from ehanet.reporting.tables import Table
from ehanet.reporting.writers import escape_markdown, to_markdown


def marks(name: str = "results") -> tuple[str, str]:
    """The two lines that a text of that name stands between in a page."""
    return f"<!-- {name}: begin (written by `make readme`; do not edit) -->", f"<!-- {name}: end -->"


def write_results(page: str | Path, reports: str | Path) -> None:
    """Put mean Dice on every data set of ``reports``, and links to their tables, between the marks of ``page``.

    Raises:
        FileNotFoundError: no comparison table in ``reports``.
        ValueError: the marks are missing.
    """
    tables = scored(reports)
    put_between_marks(page, [overview(tables)], [source(page, reports, table) for table in tables.values()])


def scored(reports: str | Path) -> dict[str, Table]:
    """Data set -> its comparison table.

    Raises:
        FileNotFoundError: there is none.
    """
    tables = comparisons(Path(reports))
    if not tables:
        raise FileNotFoundError(f"{reports}/tables holds no comparison; run make paper for this profile first")
    return tables


def source(page: str | Path, reports: str | Path, table: Table) -> str:
    """A line of Markdown: what a comparison table is of, where it is, seen from ``page``, and the id of its record."""
    path = Path(reports, "tables", f"{table.name}.md")
    target = os.path.relpath(path, Path(page).parent).replace(os.sep, "/")
    return f"- {escape_markdown(table.caption)}: [{path.parent.parent.name}/tables/{path.name}]({target}), record {read_record(path.with_suffix('.json'))['id']}."


def put_between_marks(page: str | Path, tables: list[Table], sources: list[str], name: str = "results") -> None:
    """Replace what stands between the two lines of ``marks(name)`` in ``page``.

    Raises:
        ValueError: the marks are missing.
    """
    page = Path(page)
    text = page.read_text(encoding="utf-8")
    begin, end = marks(name)
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"{page}: expected the lines {begin!r} and {end!r}, once each and in this order")
    head, tail = text[:text.index(begin) + len(begin)], text[text.index(end):]
    write_atomically(page, "\n\n".join([head, *(to_markdown(table).rstrip() for table in tables), "\n".join(sources), tail]))


if __name__ == "__main__":
    try:
        write_results(*sys.argv[1:])
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
