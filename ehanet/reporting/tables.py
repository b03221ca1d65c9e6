"""A table as data: columns, rows and notes, from which CSV, Markdown, LaTeX and HTML are written (``writers``)."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ehanet.records import read_beside
from ehanet.reporting import writers
from ehanet.files import write_atomically
from ehanet.reporting.artefacts import make_record, put_record


class Score(NamedTuple):
    """A mean with its 95 % interval; ``bold`` where it is significantly best. Without an interval low and high are NaN."""

    mean: float
    low: float = math.nan
    high: float = math.nan
    bold: bool = False


class Column(NamedTuple):
    """A column of a table; kind "text", "value" (text that stands like a number), "count" or "score", of which a
    score is printed with ``digits`` decimals.

    ``shown`` False keeps a column in the CSV alone.
    """

    key: str
    title: str
    kind: str = "text"
    digits: int = 3
    shown: bool = True


@dataclass(frozen=True)
class Table:
    """Rows are dictionaries, column key -> str, int, float, :class:`Score` or None (nothing to show)."""

    name: str
    caption: str
    mark: str
    columns: list[Column]
    rows: list[dict]
    notes: list[str] = field(default_factory=list)

    @property
    def shown(self) -> list[Column]:
        """The columns that people read."""
        return [column for column in self.columns if column.shown]


def write_table(table: Table, folder: str | Path, modules: list[str], **fields) -> dict:
    """Write ``folder``/<name>.csv, .md and .tex and, last, the record <name>.json; returns the record.

    Args:
        modules, fields: for the record, see :func:`ehanet.records.write_record`.
    """
    path = Path(folder) / table.name
    about = {"caption": table.caption, "mark": table.mark, "notes": table.notes, "columns": [list(column) for column in table.columns]}
    content = _to_csv(table)
    record = make_record(path, "table", modules, table=about, csv_sha256=hashlib.sha256(content.encode()).hexdigest(), **fields)
    write_atomically(path.with_name(f"{table.name}.csv"), content)
    write_atomically(path.with_name(f"{table.name}.md"), writers.to_markdown(table, record["id"]))
    write_atomically(path.with_name(f"{table.name}.tex"), writers.to_latex(table, record["id"]))
    put_record(path, record)
    return record


def read_table(path: str | Path) -> Table:
    """The table that ``write_table`` wrote to ``path`` (the CSV), with what its record says about it.

    Raises:
        FileNotFoundError, ValueError: the CSV or its record is missing, damaged or altered.
    """
    path = Path(path)
    about = read_beside(path).get("table", {})
    try:
        columns = [Column(*column) for column in about["columns"]]
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        rows = [{column.key: _parse(row, column) for column in columns} for row in frame.to_dict("records")]
        return Table(path.stem, about["caption"], about["mark"], columns, rows, about["notes"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"table {path} is damaged or not that of its record ({type(error).__name__}); run the comparison step again") from error


def _to_csv(table: Table) -> str:
    """Each score takes four columns: key, key_low, key_high, key_best (1 where significantly best)."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([name for column in table.columns for name in _names(column)])
    for row in table.rows:
        writer.writerow([value for column in table.columns for value in _values(row.get(column.key), column)])
    return out.getvalue()


def _names(column: Column) -> list[str]:
    return [column.key + end for end in ("", "_low", "_high", "_best")] if column.kind == "score" else [column.key]


def _values(cell, column: Column) -> list[str]:
    if column.kind != "score":
        return [_number(cell) if isinstance(cell, float) else "" if cell is None else str(cell)]
    if cell is None:
        return [""] * 4
    return [*map(_number, cell[:3]), str(int(cell.bold))]


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.9g}"


def _parse(row: dict[str, str], column: Column):
    text = row[column.key]
    if column.kind == "score":
        mean, low, high, best = (row[name] for name in _names(column))
        return None if mean == "" else Score(*(float(part) if part else math.nan for part in (mean, low, high)), best == "1")
    if column.kind == "count":
        return None if text == "" else int(text)
    return text
