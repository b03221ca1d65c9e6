"""The edge maps of several reports beside each other, each training apart, since one may learn contours where the next does not: ``make readme``.

    python -m ehanet.reporting.edges_beside docs/results.md "fine-tuned, 128 px=reports/decoders" "fine-tuned, 256 px=reports/decoders-256"
"""

from __future__ import annotations

from pathlib import Path

from ehanet.reporting.beside import Compared, by_dataset, from_command_line, networks, provenance
from ehanet.reporting.edges import NEAR
from ehanet.reporting.readme import put_between_marks, source
from ehanet.reporting.tables import Column, Table, read_table


def write_edges(page: str | Path, reports: dict[str, str | Path]) -> None:
    """Put a table of the edge maps, and links to where its numbers are from, between the marks "edges" of ``page``.

    Args:
        reports: what sets a report apart, in words -> its folder.

    Raises:
        FileNotFoundError: no folder has a table of edges.
        ValueError: the marks are missing, a file is damaged, or a table is an older one.
    """
    tables = [(setting, Path(folder), path, read_table(path)) for setting, folder in reports.items() for path in sorted(Path(folder, "tables").glob("edges_*.csv"))]
    if not tables:
        raise FileNotFoundError(f"{', '.join(map(str, reports.values()))}: no tables of edges; run make paper for these profiles first")
    for _, _, path, table in tables:
        if "each" not in {column.key for column in table.columns}:
            raise ValueError(f"{path} is an older table, in which trainings do not stand apart; run its edges step again")
    found = by_dataset([Compared(setting, folder, path.stem.removeprefix("edges_"), table) for setting, folder, path, table in tables])
    put_between_marks(page, [edges_beside(found)], [source(page, one.folder, one.table) for one in found], "edges")


def edges_beside(found: list[Compared]) -> Table:
    """A row for each table of edges, a column for each network with an edge branch that at least two of them have."""
    rows = []
    for one in found:
        scored = [row for row in one.table.rows if row["ods"] is not None]
        rows.append({"setting": one.title, "filled": scored[0]["filled"] if scored else None} | {row["label"]: row["each"] for row in scored})
    columns = [Column("setting", "Data set and setting"), Column("filled", "Filled objects", "score"),
               *[Column(label, title, "value") for label, title in networks(found, "ods").items()]]
    notes = [f"Edge F1 (ODS) of the edge map against the label's contour within {NEAR} px, at the threshold that is best on these test images, and in brackets the share flagged of the pixels deeper "
             "inside objects; a number for each training, seeds in order.",
             "Filled objects: what the label's own objects would score, taken as a map of edges. A map of contours is above it and flags few pixels inside."]
    return Table("edges_beside", "Edge F1 of each training (flagged inside)", provenance(found), columns, rows, notes)


if __name__ == "__main__":
    from_command_line(write_edges)
