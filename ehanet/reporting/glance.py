"""Results at a glance: a card for each data set, and every method on all of them."""

from __future__ import annotations

from pathlib import Path

from ehanet.metrics.statistics import ALPHA
from ehanet.reporting.results import PHANTOM, RANDOM, TRAINED
from ehanet.reporting.tables import Column, Table, read_table
from ehanet.reporting.wording import dataset_title
from ehanet.reporting.writers import format_score

START = {RANDOM: RANDOM, TRAINED: f"a {TRAINED}"}  # a track within a sentence


def card(reports: Path, name: str, compared: Table) -> dict | None:
    """The headline of one data set: the reference's Dice and how its boundary and rank compare."""
    reference = reference_row(compared)
    if reference is None:
        return None
    if (path := reports / "tables" / f"ladder_{name}.csv").is_file():
        return _ladder_card(name, compared, read_table(path).rows)
    track = reference.get("track") or ""
    every = [row for row in compared.rows if row["dice"] is not None]
    scored = [row for row in every if (row.get("track") or "") == track]
    among = f" that began with {START[track]}" if track else ""
    lines = []
    if len(scored) > 1:
        place = 1 + sum(row["dice"].mean > reference["dice"].mean for row in scored)
        lines.append(f"Rank {place} of {len(scored)}{among} by mDice. {significant(reports, name, 'dice', track)}".strip())
        if place > 1:
            first = max(scored, key=lambda row: row["dice"].mean)
            lines.append(f"First: {first['title']} with {' ('.join(format_score(first['dice'], 3))}).")
    apart = [row for row in every if row not in scored and row["method"] == reference["method"]]
    lines += [f"With {START[row['track']]}: {row['title']}, {' ('.join(format_score(row['dice'], 3))})." for row in apart]
    return _card(name, compared, reference, lines)


def _ladder_card(name: str, compared: Table, steps: list[dict]) -> dict:
    """The headline of a ladder: the recipe that validation left, beside where it began."""
    first, left = steps[0], [row for row in steps if row["kept"] == "yes"][-1]
    began = f", begun with {' ('.join(format_score(first['test'], 3))})" if left is not first else ""
    row = next(row for row in compared.rows if row["label"] == left["label"])
    return _card(name, compared, row, [f"What validation left of {len(steps)} steps{began}."])


def _card(name: str, compared: Table, row: dict, lines: list[str]) -> dict:
    number, interval = format_score(row["dice"], 3)
    boundary, between = format_score(row["boundary_f1"], 3)
    lines = [*lines, f"Boundary F1 {boundary} ({between}); HD95 {row['hd95'].mean:.2f} px."]
    return {"id": f"data-{name}", "title": dataset_title(name), "mark": compared.mark, "number": number, "interval": interval, "reference": row["title"], "lines": lines}


def reference_row(compared: Table) -> dict | None:
    """EHANet's row, else a variant of it, else the first with numbers."""
    scored = [row for row in compared.rows if row.get("dice") is not None]
    named = [row for row in scored if row["label"] == "ehanet"] or [row for row in scored if row["method"] == "ehanet"]
    return next(iter(named or scored), None)


def significant(reports: Path, name: str, score: str, track: str) -> str:
    """In words: how many methods of the track are significantly below and above its reference by ``score``."""
    tested = [(row, clear) for row, clear in differences(reports, name, score) if (row.get("track") or "") == track]
    if not tested:
        return ""
    rises = [row[f"{score}_difference"].mean > 0 for row, clear in tested if clear]
    return f"Significantly below it: {len(rises) - sum(rises)} of {len(tested)} methods; above: {sum(rises)}."


def differences(reports: Path, name: str, score: str) -> list[tuple[dict, bool]]:
    """The rows of the table of differences that have one by ``score``, and whether it is clear of chance; none without the table."""
    path = reports / "tables" / f"differences_{name}.csv"
    rows = [row for row in read_table(path).rows if row[f"{score}_difference"] is not None] if path.is_file() else []
    return [(row, float(row[f"{score}_p_holm_exact"]) < ALPHA) for row in rows]  # not a number where untested: never below


def overview(compared: dict[str, Table]) -> Table:
    """mDice of every method on every data set; also over the images with an object, where some of a data set's have none."""
    rows: dict[str, dict] = {}
    columns = [Column("title", "Method"), Column("track", "Track", shown=any(row.get("track") for one in compared.values() for row in one.rows))]
    for name, one in compared.items():
        title, empty = dataset_title(name) + (" (phantom)" if one.mark == PHANTOM else ""), any(column.key == "dice_object" for column in one.shown)
        columns += [Column(name, title, "score")] + ([Column(f"{name}_object", f"{title}, objects", "score")] if empty else [])
        for row in one.rows:
            cells = rows.setdefault(row["label"], {"title": row["title"], "mark": row["mark"]})
            cells |= {name: row["dice"], f"{name}_object": row.get("dice_object"), "track": cells.get("track") or row.get("track")}
    marks = " / ".join(dict.fromkeys(one.mark for one in compared.values()))
    notes = ["Bold: significantly best over the test images, of its track where there are two tracks."]
    notes += ["Objects: over the images whose label has one. Any other image scores 1 where nothing is drawn, else 0."] if any(column.key.endswith("_object") for column in columns) else []
    return Table("overview", "Mean Dice with its 95 % interval", marks, columns, list(rows.values()), notes)
