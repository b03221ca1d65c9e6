"""The paper's claims beside what was measured here."""

from __future__ import annotations

from pathlib import Path

from ehanet.reporting.glance import reference_row, significant
from ehanet.reporting.results import PAPER_SETS, PUBLISHED
from ehanet.reporting.tables import Column, Table
from ehanet.reporting.wording import dataset_title
from ehanet.reporting.writers import format_score


def claims(reports: Path, compared: dict[str, Table]) -> Table | None:
    """The paper's claims, the empty place for its numbers, and what was measured here."""
    rows = []
    for name, one in compared.items():
        reference = reference_row(one)
        if reference is None or reference["method"] != "ehanet":
            continue
        for claim, score in (("More accurate than the compared methods", "dice"), ("Accurate at edges", "boundary_f1")):
            mean, interval = format_score(reference[score], 3)
            word = "mDice" if score == "dice" else "boundary F1"
            rows.append({"claim": f"{claim}: {dataset_title(name)}", "paper": "not public; place kept" if name in PAPER_SETS else "none: not a data set of the paper",
                         "here": f"{word} {mean} ({interval}). {significant(reports, name, score)}".strip(), "mark": one.mark})
    columns = [Column("claim", "Claim"), Column("paper", "Paper's number (published)"), Column("here", "Measured here"), Column("mark", "Mark")]
    return Table("claims", "The paper's tables are not public text, so no number of its own is quoted", PUBLISHED + " / measured", columns, rows) if rows else None
